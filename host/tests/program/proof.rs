//! A sweep whose processes are killed in its middle leaves what an undisturbed one leaves: equal results, none lost,
//! none twice.
//!
//! The large one takes its time: `scripts/test --with slurm --package lorahost --test program -- --ignored --nocapture proof`.

use std::fs;

use crate::processes::{Running, signal, until, workers};
use crate::sandbox::{Sandbox, real};
use crate::sharing::{claims, done, numbers};
use crate::slurm::cluster;

/// What happens to a sweep.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// `kill -9` of the parent.
    Parent,
    /// `kill -9` of one of its workers.
    Worker,
    /// Ctrl-C.
    Interrupt,
}

/// A sweep of the sandbox.
struct Sweep<'a> {
    sandbox: &'a Sandbox,
    flags: String,
    runs: usize,
}

impl Sweep<'_> {
    fn start(&self) -> Running {
        self.sandbox
            .start(&format!("{} --output struck", self.flags), &[])
    }

    fn done(&self) -> usize {
        done(&self.sandbox.path("struck"))
    }

    /// Begins or goes on, and deals the blow once so many runs are done.
    fn strike(&self, blow: Blow, at: usize) {
        let mut parent = self.start();
        until("runs to be done", || (self.done() >= at).then_some(()));
        match blow {
            Blow::Parent => parent.kill().unwrap(),
            Blow::Interrupt => signal("INT", parent.id()),
            Blow::Worker => {
                let worker = until("a worker", || workers(parent.id()).first().copied());
                signal("KILL", worker);
                until("the next run", || (self.done() > at).then_some(()));
                signal("INT", parent.id());
            }
        }
        let outcome = self.sandbox.end(parent);
        assert_ne!(outcome.code, 1, "{blow:?} at {at}: {}", outcome.err);
    }

    /// Goes on to the end. A worker's death may have cost a run, which is repeated once.
    fn finish(&self) {
        let mut outcome = self.sandbox.end(self.start());
        if outcome.code == 3 {
            outcome = self.sandbox.end(self.start());
        }
        assert_eq!(outcome.code, 0, "{}", outcome.err);
    }

    /// Compares with an undisturbed sweep.
    fn judge(&self) {
        let outcome = self
            .sandbox
            .lorahost(&format!("{} --output calm", self.flags));
        assert_eq!(outcome.code, 0, "{}", outcome.err);
        let (struck, calm) = (self.sandbox.runs("struck"), self.sandbox.runs("calm"));
        assert_eq!(calm.len(), self.runs);
        assert_eq!(numbers(&struck), numbers(&calm));
        assert_eq!(claims(&self.sandbox.path("struck")), 0);
        let results = |output: &str| {
            let folder = self.sandbox.path(output);
            let summary = fs::read_to_string(folder.join("summary.json")).unwrap();
            let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
            let files = summary["files"].as_array().unwrap().iter();
            let read = |file: &serde_json::Value| {
                let file = file.as_str().unwrap();
                (
                    file.to_owned(),
                    fs::read_to_string(folder.join(file)).unwrap(),
                )
            };
            files.map(read).collect::<Vec<_>>()
        };
        assert!(!results("calm").is_empty());
        assert_eq!(results("struck"), results("calm"));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn twelve_runs_survive_the_death_of_parent_and_worker() {
    let sandbox = Sandbox::new();
    let sweep = Sweep {
        sandbox: &sandbox,
        flags: "--model builtin:tiny-bert --data builtin:topics --train-size 96 --validation-size 32 --test-size 32 \
                --max-length 32 --epochs 3 --batch-size 8 --rank 2 4 --lrs 3e-4 1e-3 3e-3 --seed 1 2 --workers 2"
            .to_owned(),
        runs: 12,
    };
    sweep.strike(Blow::Parent, 2);
    sweep.strike(Blow::Worker, 4);
    sweep.strike(Blow::Interrupt, 7);
    sweep.finish();
    sweep.judge();
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "takes a quarter of an hour on two cores"]
fn sixty_real_runs_survive_the_death_of_parent_worker_and_job() {
    let test = "sixty_real_runs_survive_the_death_of_parent_worker_and_job";
    let sandbox = Sandbox::new();
    let Some(cluster) = cluster(test) else {
        return;
    };
    let mut sweeps = vec![Sweep {
        sandbox: &sandbox,
        flags: "--model builtin:tiny-bert --data builtin:topics --train-size 512 --validation-size 128 \
                --test-size 128 --epochs 1 --batch-size 16 --rank 4 16 --lrs 1e-4 3e-4 1e-3 3e-3 --seed 1 2 3 4 \
                --with-full-finetune --workers 2"
            .to_owned(),
        runs: 48,
    }];
    let model = real(test, "LORAHOST_TEST_MODELS", "all-MiniLM-L6-v2");
    let data = real(test, "LORAHOST_TEST_DATA", "ag_news");
    let (Some(model), Some(data)) = (model, data) else {
        return;
    };
    let second = Sandbox::new();
    sweeps.push(Sweep {
        sandbox: &second,
        flags: format!(
            "--model {} --data {} --train-size 160 --validation-size 40 --test-size 80 --max-length 64 --epochs 1 \
             --batch-size 16 --rank 4 16 --lrs 1e-4 3e-4 1e-3 3e-3 --seed 1 2 --workers 2",
            model.display(),
            data.display()
        ),
        runs: 16,
    });
    for sweep in sweeps {
        let part = sweep.runs / 8;
        sweep.strike(Blow::Parent, part);
        sweep.strike(Blow::Worker, 2 * part);
        // The same as a job, one task of which dies the hard way, and then the job.
        let launch = format!(
            "{} --output struck --launcher slurm --tasks 2 --slurm-option=--time=60",
            sweep.flags.replace(" --workers 2", "")
        );
        let launcher = sweep.sandbox.start(&launch, &cluster.environment());
        let job = until("the job", || {
            cluster.jobs_of(sweep.sandbox).first().cloned()
        });
        until("runs of the job", || {
            (sweep.done() >= 4 * part).then_some(())
        });
        let task = until("a task", || cluster::pid_of_a_task(sweep.sandbox));
        cluster::kill(task);
        until("runs of the other task", || {
            (sweep.done() >= 5 * part).then_some(())
        });
        cluster.ask("scancel", &[&job]);
        let outcome = sweep.sandbox.end(launcher);
        assert_eq!(outcome.code, 1, "{}", outcome.err);
        sweep.strike(Blow::Interrupt, 6 * part);
        sweep.finish();
        sweep.judge();
    }
}
