//! The script of an array job.

use std::path::{Path, PathBuf};

use super::{LaunchError, Task};

/// How long before its limit a job is told, in seconds: enough for a step of a large model and its checkpoint.
const NOTICE: u32 = 120;

/// All that the script of an array job says.
#[derive(Debug, Clone)]
pub struct Script {
    /// This program and its arguments, as they were given.
    pub command: Vec<String>,
    /// Where relative paths of the arguments begin.
    pub folder: PathBuf,
    pub tasks: usize,
    pub cpus_per_task: usize,
    /// Whether a task that reaches its time limit, or whose machine fails, is queued again.
    pub requeue: bool,
    /// Further options of sbatch, one a line; they go before ours.
    pub options: Vec<String>,
}

impl Script {
    /// The text; what the tasks print goes into `logs`.
    ///
    /// # Errors
    /// [`LaunchError::Text`] for a path or an option that cannot stand in a `#SBATCH` line.
    pub fn text(&self, logs: &Path) -> Result<String, LaunchError> {
        let requeue = if self.requeue {
            "--requeue"
        } else {
            "--no-requeue"
        };
        let logs = logs.display().to_string();
        let folder = self.folder.display().to_string();
        let mut lines = vec![
            "#!/bin/bash".to_owned(),
            "# Written by lorahost. Its tasks share the runs of the output folder; `sbatch THIS_FILE` submits it again."
                .to_owned(),
            "#SBATCH --job-name=lorahost".to_owned(),
            format!("#SBATCH --array=1-{}", self.tasks),
            format!("#SBATCH --cpus-per-task={}", self.cpus_per_task),
            format!("#SBATCH --chdir={}", quoted(&folder)?),
            // Slurm replaces what follows a percent sign.
            format!("#SBATCH --output={}", quoted(&format!("{}/%A_%a.log", logs.replace('%', "%%")))?),
            "#SBATCH --open-mode=append".to_owned(),
            format!("#SBATCH --signal=B:USR1@{NOTICE}"),
            format!("#SBATCH {requeue}"),
        ];
        for option in &self.options {
            lines.push(format!("#SBATCH {}", one_line(option)?));
        }
        lines.push(format!("export {}=1", Task::VARIABLE));
        let words: Vec<String> = self.command.iter().map(|word| shell(word)).collect();
        // In place of the shell, so that signals reach it.
        lines.push(format!("exec {}", words.join(" ")));
        Ok(lines.join("\n") + "\n")
    }
}

fn one_line(text: &str) -> Result<&str, LaunchError> {
    if text.contains(['\n', '\r']) {
        let text = text.to_owned();
        return Err(LaunchError::Text { text });
    }
    Ok(text)
}

/// For a `#SBATCH` line, which takes words in quotation marks and no escapes.
fn quoted(text: &str) -> Result<String, LaunchError> {
    if one_line(text)?.contains('"') {
        let text = text.to_owned();
        return Err(LaunchError::Text { text });
    }
    Ok(format!("\"{text}\""))
}

/// A word of a shell's command line.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn script() -> Script {
        Script {
            command: [
                "/opt/lorahost",
                "sweep",
                "my study.toml",
                "--lrs",
                "1e-3",
                "--requeue",
            ]
            .map(str::to_owned)
            .to_vec(),
            folder: "/data".into(),
            tasks: 8,
            cpus_per_task: 2,
            requeue: true,
            options: vec!["--partition=long".to_owned(), "--time=2:00:00".to_owned()],
        }
    }

    #[test]
    fn a_script_says_all_of_it() {
        insta::assert_snapshot!(script().text(Path::new("/data/100% new/slurm")).unwrap(), @r##"
        #!/bin/bash
        # Written by lorahost. Its tasks share the runs of the output folder; `sbatch THIS_FILE` submits it again.
        #SBATCH --job-name=lorahost
        #SBATCH --array=1-8
        #SBATCH --cpus-per-task=2
        #SBATCH --chdir="/data"
        #SBATCH --output="/data/100%% new/slurm/%A_%a.log"
        #SBATCH --open-mode=append
        #SBATCH --signal=B:USR1@120
        #SBATCH --requeue
        #SBATCH --partition=long
        #SBATCH --time=2:00:00
        export LORAHOST_SLURM_TASK=1
        exec /opt/lorahost sweep 'my study.toml' --lrs 1e-3 --requeue
        "##);
    }

    #[test]
    fn a_shell_reads_the_words_as_they_were() {
        let words = [
            "",
            "a b",
            "it's",
            "$HOME `id` \"x\" \\",
            "*;&|<>\n~",
            "ü=(1)",
        ];
        let line: Vec<String> = words.iter().map(|word| shell(word)).collect();
        let printed = Command::new("bash")
            .args(["-c", &format!("printf '%s\\0' {}", line.join(" "))])
            .output()
            .unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        let read: Vec<&str> = printed.split_terminator('\0').collect();
        assert_eq!(read, words);
    }

    #[test]
    fn what_would_end_a_line_of_options_is_refused() {
        let options = Script {
            options: vec!["--time=1\nrm -rf /".to_owned()],
            ..script()
        };
        let folder = Script {
            folder: "/home/\"me".into(),
            ..script()
        };
        for script in [options, folder] {
            assert!(matches!(
                script.text(Path::new("/data")),
                Err(LaunchError::Text { .. })
            ));
        }
    }
}
