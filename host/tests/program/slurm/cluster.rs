//! A Slurm of one machine: munged, slurmctld and slurmd on the loopback, in a folder of their own.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::processes::until;
use crate::sandbox::Sandbox;

/// A running cluster; it ends with this value.
pub struct Cluster {
    folder: tempfile::TempDir,
    daemons: Vec<Child>,
}

impl Cluster {
    /// Starts the daemons and waits until a job can be submitted.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // munged trusts no folder that others may write to, and no key that others may read.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["state", "spool", "cgroup"] {
            fs::create_dir(path(name)).unwrap();
        }
        let key: Vec<u8> = (0..=255).cycle().take(1024).collect();
        fs::write(path("munge.key"), key).unwrap();
        fs::set_permissions(path("munge.key"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(path("slurm.conf"), configuration(folder.path())).unwrap();
        fs::write(path("cgroup.conf"), cgroups(folder.path())).unwrap();
        let mut cluster = Self {
            folder,
            daemons: Vec::new(),
        };
        cluster.start_munge();
        cluster.daemon("slurmctld", &["-D".to_owned()]);
        cluster.daemon("slurmd", &["-D".to_owned()]);
        until("the cluster", || {
            let states = cluster.answer("sinfo", &["--noheader", "--format=%T"]);
            (states.trim() == "idle").then_some(())
        });
        cluster
    }

    /// Has Slurm's commands speak to this cluster.
    pub fn environment(&self) -> [(&str, &str); 1] {
        let path = self.folder.path().to_str().unwrap();
        [(
            "SLURM_CONF",
            Box::leak(format!("{path}/slurm.conf").into_boxed_str()),
        )]
    }

    /// Runs one of Slurm's commands, which must succeed.
    pub fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.command(program).args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The array jobs that a sandbox submitted, the newest first.
    pub fn jobs_of(&self, sandbox: &Sandbox) -> Vec<String> {
        let submitted = self.answer("scontrol", &["show", "job", "--oneliner"]);
        let folder = sandbox.path("").canonicalize().unwrap();
        let of_sandbox = format!(" WorkDir={} ", folder.display());
        let mut jobs: Vec<u64> = submitted
            .lines()
            .filter(|line| line.contains(&of_sandbox))
            .filter_map(|line| field(line, "ArrayJobId")?.parse().ok())
            .collect();
        jobs.sort_unstable_by(|a, b| b.cmp(a));
        jobs.dedup();
        jobs.iter().map(u64::to_string).collect()
    }

    pub fn was_requeued(&self, task: &str) -> bool {
        let job = self.answer("scontrol", &["show", "job", task, "--oneliner"]);
        field(&job, "Restarts").is_some_and(|restarts| restarts != "0")
    }

    fn answer(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.command(program).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.path("slurm.conf"));
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start_munge(&mut self) {
        let mut arguments = vec!["--foreground".to_owned(), "--force".to_owned()];
        for (option, file) in [
            ("key-file", "munge.key"),
            ("socket", "munge.socket"),
            ("pid-file", "munge.pid"),
            ("log-file", "munge.log"),
            ("seed-file", "munge.seed"),
        ] {
            arguments.push(format!("--{option}={}", self.path(file).display()));
        }
        self.daemon("munged", &arguments);
        let socket = self.path("munge.socket");
        until("munged", || socket.exists().then_some(()));
    }

    fn daemon(&mut self, program: &str, arguments: &[String]) {
        let log = fs::File::create(self.path(&format!("{program}.out"))).unwrap();
        let daemon = self
            .command(&located(program))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.daemons.push(daemon.unwrap());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self
            .command("scancel")
            .args(["--full", "--user=root"])
            .status();
        sleep(Duration::from_millis(500));
        for daemon in self.daemons.iter_mut().rev() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// The process of a task that runs now in a sandbox.
pub fn pid_of_a_task(sandbox: &Sandbox) -> Option<u32> {
    let folder = sandbox.path("").canonicalize().unwrap();
    fs::read_dir("/proc").unwrap().find_map(|entry| {
        let process = entry.ok()?.path();
        let pid = process.file_name()?.to_str()?.parse().ok()?;
        let environment = fs::read(process.join("environ")).ok()?;
        let command = fs::read(process.join("cmdline")).ok()?;
        let holds = |text: &[u8], part: &str| {
            text.split(|byte| *byte == 0)
                .any(|word| word == part.as_bytes())
        };
        (fs::read_link(process.join("cwd")).ok()? == folder
            && holds(&environment, "LORAHOST_SLURM_TASK=1")
            && !holds(&command, "worker"))
        .then_some(pid)
    })
}

/// As `kill -9` does.
pub fn kill(pid: u32) {
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(killed.unwrap().success());
}

/// Daemons lie outside of the PATH of ordinary users.
fn located(program: &str) -> String {
    let sbin = Path::new("/usr/sbin").join(program);
    if sbin.exists() {
        sbin.display().to_string()
    } else {
        program.to_owned()
    }
}

/// A field `NAME=VALUE` of what scontrol prints.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn word_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// `slurm.conf`: four cores, whatever the machine has, and nothing that asks for more rights than a test has.
fn configuration(folder: &Path) -> String {
    let (host, user) = (word_of("hostname", &["-s"]), word_of("id", &["-un"]));
    let ports: Vec<u16> = [
        TcpListener::bind("127.0.0.1:0"),
        TcpListener::bind("127.0.0.1:0"),
    ]
    .into_iter()
    .map(|listener| listener.unwrap().local_addr().unwrap().port())
    .collect();
    let folder = folder.display();
    let mut text = String::new();
    for (key, value) in [
        ("ClusterName", "test".to_owned()),
        ("SlurmctldHost", format!("{host}(127.0.0.1)")),
        ("SlurmctldPort", ports[0].to_string()),
        ("SlurmdPort", ports[1].to_string()),
        ("SlurmUser", user.clone()),
        ("SlurmdUser", user),
        ("AuthType", "auth/munge".to_owned()),
        // A requeued job waits for the end of its credential, else two minutes.
        (
            "AuthInfo",
            format!("socket={folder}/munge.socket,cred_expire=5"),
        ),
        ("StateSaveLocation", format!("{folder}/state")),
        ("SlurmdSpoolDir", format!("{folder}/spool")),
        ("SlurmctldPidFile", format!("{folder}/slurmctld.pid")),
        ("SlurmdPidFile", format!("{folder}/slurmd.pid")),
        ("SlurmctldLogFile", format!("{folder}/slurmctld.log")),
        ("SlurmdLogFile", format!("{folder}/slurmd.log")),
        ("ProctrackType", "proctrack/linuxproc".to_owned()),
        ("TaskPlugin", "task/none".to_owned()),
        ("MpiDefault", "none".to_owned()),
        ("ReturnToService", "2".to_owned()),
        ("KillWait", "10".to_owned()),
        ("SelectType", "select/cons_tres".to_owned()),
        ("SelectTypeParameters", "CR_Core".to_owned()),
        (
            "SchedulerParameters",
            "batch_sched_delay=1,sched_interval=1,bf_interval=1".to_owned(),
        ),
        ("SlurmdParameters", "config_overrides".to_owned()),
        (
            "NodeName",
            format!(
                "{host} NodeAddr=127.0.0.1 CPUs=4 CoresPerSocket=4 RealMemory=4000 State=UNKNOWN"
            ),
        ),
        (
            "PartitionName",
            format!("main Nodes={host} Default=YES MaxTime=INFINITE State=UP"),
        ),
    ] {
        writeln!(text, "{key}={value}").unwrap();
    }
    text
}

/// `cgroup.conf`: none are used. Slurm before 23.11 has no word for that, and takes an empty folder for those of version 1.
fn cgroups(folder: &Path) -> String {
    let version = word_of(&located("slurmctld"), &["-V"]);
    let year = version
        .split_whitespace()
        .nth(1)
        .and_then(|version| version.split('.').next());
    if year
        .and_then(|year| year.parse::<u32>().ok())
        .is_some_and(|year| year >= 24)
    {
        return "CgroupPlugin=disabled\n".to_owned();
    }
    format!(
        "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nCgroupMountpoint={}/cgroup\n",
        folder.display()
    )
}
