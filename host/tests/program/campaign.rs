//! Blows at random moments of a sweep's life, from its start to its report; what is left in the end is what an undisturbed
//! sweep leaves.
//!
//! The long one: `scripts/test --package lorahost --test program -- --ignored --nocapture two_hundred_blows`.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lorahost::random::Stream;

use crate::processes::{Running, signal, workers};
use crate::sandbox::{Outcome, Run, Sandbox, small};
use crate::survival::{KEPT, by_id, equal};

/// What happens to a sweep.
#[derive(Debug, Clone, Copy)]
enum Blow {
    /// `kill -9` of the program.
    Parent,
    /// `kill -9` of its workers.
    Workers,
    /// `kill -9` of all.
    All,
    /// SIGTERM.
    Terminate,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-C, and again at once.
    Twice,
}

use Blow::{All, Interrupt, Parent, Terminate, Twice, Workers};

const BLOWS: [Blow; 6] = [Parent, Workers, All, Terminate, Interrupt, Twice];

impl Blow {
    fn deal(self, program: u32) {
        let all = workers(program);
        let kill = |pids: &[u32]| pids.iter().for_each(|&pid| signal("KILL", pid));
        match self {
            Parent => kill(&[program]),
            Workers => kill(&all),
            All => {
                kill(&[program]);
                kill(&all);
            }
            Terminate => signal("TERM", program),
            Interrupt => signal("INT", program),
            Twice => {
                signal("INT", program);
                signal("INT", program);
            }
        }
    }

    /// Exit codes after it; -1 is the death by the signal. Until the program has taken its signals over, the first ends
    /// it. Workers that die where it has none yet are none.
    fn ends_with(self) -> &'static [i32] {
        match self {
            Parent | All => &[-1, 0],
            Workers => &[0],
            Terminate | Interrupt | Twice => &[-1, 130, 0],
        }
    }
}

/// A sweep with which something happens.
struct Campaign {
    sandbox: Sandbox,
    undisturbed: BTreeMap<String, Run>,
    /// How long that one took.
    length: Duration,
    random: Stream,
}

const FLAGS: &str = "--epochs 3 --eval-every 3 --dropout 0.1 --save adapter --lrs 1e-3 3e-3 --seed 1 2 3 --workers 2";

impl Campaign {
    fn new(seed: u64) -> Self {
        let sandbox = Sandbox::new();
        let started = Instant::now();
        let undisturbed = by_id(sandbox.train(&format!("{FLAGS} --output whole")));
        Self {
            sandbox,
            undisturbed,
            length: started.elapsed(),
            random: Stream::named(seed, "test", "campaign"),
        }
    }

    /// Waits for a moment of a program's life, as likely early as late; whether it is still there.
    fn still_runs_at_a_moment(&mut self, program: &mut Running) -> bool {
        let moment = self.length.mul_f64(self.random.next_f64());
        let started = Instant::now();
        while started.elapsed() < moment {
            if program.try_wait().unwrap().is_some() {
                return false;
            }
            sleep(Duration::from_millis(1));
        }
        program.try_wait().unwrap().is_none()
    }

    /// A sweep from its start to its end under at most `limit` blows; how many there were.
    fn sweep(&mut self, limit: usize) -> usize {
        let words = small(&format!("{FLAGS} {KEPT} --output cut"));
        let mut dealt = 0;
        while dealt < limit {
            let mut program = self.sandbox.start(&words, &[]);
            if !self.still_runs_at_a_moment(&mut program) {
                let outcome = self.sandbox.end(program);
                assert_eq!(outcome.code, 0, "{}", outcome.err);
                return dealt;
            }
            let blow = self.random.pick(&BLOWS);
            blow.deal(program.id());
            dealt += 1;
            let Outcome { code, err, .. } = self.sandbox.end(program);
            assert!(blow.ends_with().contains(&code), "{blow:?}: {code}, {err}");
            if code == 0 {
                return dealt;
            }
        }
        let outcome = self.sandbox.lorahost(&words);
        assert_eq!(outcome.code, 0, "{}", outcome.err);
        dealt
    }

    /// `kill -9` of a report in the making; another goes through.
    fn report(&mut self) {
        let mut program = self.sandbox.start("report cut --out page", &[]);
        if self.still_runs_at_a_moment(&mut program) {
            program.kill().unwrap();
        }
        self.sandbox.end(program);
        let outcome = self.sandbox.lorahost("report cut --out page");
        assert_eq!(outcome.code, 0, "{}", outcome.err);
    }
}

/// Sweep after sweep, until there were so many blows.
#[expect(clippy::print_stdout, reason = "the figures of the campaign")]
fn campaign(seed: u64, blows: usize) {
    let mut campaign = Campaign::new(seed);
    let (mut dealt, mut sweeps, mut resumes) = (0, 0, 0);
    while dealt < blows {
        dealt += campaign.sweep(blows - dealt);
        resumes += equal(&campaign.sandbox, &campaign.undisturbed);
        campaign.report();
        for folder in ["cut", "page"] {
            fs::remove_dir_all(campaign.sandbox.path(folder)).unwrap();
        }
        sweeps += 1;
    }
    println!("{dealt} blows to {sweeps} sweeps; {resumes} resumed runs; all equal");
    assert!(resumes > 0, "no run was disturbed");
}

#[cfg(target_os = "linux")]
#[test]
fn some_blows_at_random_moments() {
    campaign(1, 12);
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "takes more than a quarter of an hour"]
fn two_hundred_blows_at_random_moments() {
    campaign(2, 200);
}
