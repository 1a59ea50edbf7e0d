//! Which run is made next, where other processes may make some of them.

use std::{
    collections::VecDeque,
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{
    RunJob,
    claim::{Claim, Claims, Take, refresh},
    parent::is_same,
    process::locked,
    shard::Shard,
};
use crate::atomic::folder_of;
use crate::record::{RecordError, RunRecord, RunState, state};

/// How runs are shared with other processes.
#[derive(Debug, Clone)]
pub struct Sharing {
    /// After which time without a sign of life a process of another machine counts as gone.
    pub lease: Duration,
    pub part: Part,
    /// Whether a sweep whose last runs are made elsewhere waits for them.
    pub wait: bool,
}

/// Which runs of the plan a process makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    All,
    /// All of them, those of the shard first: others begin elsewhere.
    First(Shard),
    /// Those of the shard alone.
    Only(Shard),
}

/// Where nothing else is said.
pub const LEASE: Duration = Duration::from_mins(1);

impl Default for Sharing {
    /// All runs, and those that others make are waited for.
    fn default() -> Self {
        Self {
            lease: LEASE,
            part: Part::All,
            wait: true,
        }
    }
}

impl Sharing {
    /// How often claims of others are looked at: often enough in a lease to tell that a beat stands still.
    fn look(&self) -> Duration {
        (self.lease / 8).min(Duration::from_secs(1))
    }
}

/// The runs that are not done.
pub(super) struct Queue<'a> {
    jobs: &'a [RunJob],
    claims: Claims,
    look: Duration,
    wait: bool,
    /// What failed before this sweep, and is made again.
    failed: Vec<Option<RunRecord>>,
    lists: Mutex<Lists>,
}

/// Places of runs in the plan.
struct Lists {
    /// Not tried yet.
    fresh: VecDeque<usize>,
    /// Held by others when they were tried.
    held: VecDeque<usize>,
    looked: Option<Instant>,
}

/// What a worker is to do.
pub(super) enum Next {
    Run(usize, Arc<Claim>),
    /// Nothing: another process has done this run.
    Done(usize, Box<RunRecord>),
    /// Others are at the runs that are left: ask again soon.
    Wait,
    End,
}

impl<'a> Queue<'a> {
    /// A queue of the runs at the places `to_do`; `failed` has, for every place, what a run that is to be repeated left.
    pub(super) fn new(
        jobs: &'a [RunJob],
        to_do: Vec<usize>,
        failed: Vec<Option<RunRecord>>,
        sharing: &Sharing,
    ) -> Self {
        Self {
            jobs,
            claims: Claims::new(sharing.lease),
            look: sharing.look(),
            wait: sharing.wait,
            failed,
            lists: Mutex::new(Lists {
                fresh: ordered(to_do, sharing.part).into(),
                held: VecDeque::new(),
                looked: None,
            }),
        }
    }

    /// Runs that may be this process's to make.
    pub(super) fn len(&self) -> usize {
        let lists = locked(&self.lists);
        lists.fresh.len() + lists.held.len()
    }

    /// The next run, claimed.
    ///
    /// # Errors
    /// [`RecordError`].
    pub(super) fn next(&self) -> Result<Next, RecordError> {
        let lists = &mut *locked(&self.lists);
        while let Some(index) = lists.fresh.pop_front() {
            match self.attempt(index)? {
                Attempt::Got(next) => return Ok(next),
                Attempt::Held { .. } => lists.held.push_back(index),
            }
        }
        if lists.held.is_empty() {
            return Ok(Next::End);
        }
        if lists
            .looked
            .is_some_and(|looked| looked.elapsed() < self.look)
        {
            return Ok(Next::Wait);
        }
        lists.looked = Some(Instant::now());
        let mut worth_waiting = self.wait;
        for _ in 0..lists.held.len() {
            let Some(index) = lists.held.pop_front() else {
                break;
            };
            match self.attempt(index)? {
                Attempt::Got(next) => {
                    // The others are looked at by whoever asks next.
                    lists.looked = None;
                    return Ok(next);
                }
                Attempt::Held { deserted } => {
                    worth_waiting |= deserted;
                    lists.held.push_back(index);
                }
            }
        }
        Ok(if worth_waiting { Next::Wait } else { Next::End })
    }

    /// Takes a run back whose claim was lost.
    pub(super) fn put_back(&self, index: usize) {
        locked(&self.lists).held.push_back(index);
    }

    fn attempt(&self, index: usize) -> Result<Attempt, RecordError> {
        let job = &self.jobs[index];
        let claim = match self.claims.take(&job.claim)? {
            Take::Mine(claim) => claim,
            Take::Held { deserted } => return Ok(Attempt::Held { deserted }),
        };
        // The claim is ours, so no other process writes there; what one wrote before has to be seen.
        let folder = &job.folder;
        fs::create_dir_all(folder_of(folder))
            .and_then(|()| refresh(folder_of(folder)))
            .and_then(|()| {
                if folder.is_dir() {
                    refresh(folder)
                } else {
                    Ok(())
                }
            })
            .map_err(RecordError::io("write to", folder))?;
        Ok(Attempt::Got(match state(folder)? {
            RunState::Done(record) if !self.is_to_repeat(index, &record) => {
                claim.finish();
                Next::Done(index, record)
            }
            RunState::Done(_) | RunState::Absent => Next::Run(index, claim),
            RunState::Unfinished(why) => {
                tracing::info!("the run {} is begun anew: {why}", job.id);
                Next::Run(index, claim)
            }
        }))
    }

    /// Whether this is the failure that was there before this sweep.
    fn is_to_repeat(&self, index: usize, record: &RunRecord) -> bool {
        let failed = self.failed[index].as_ref();
        failed.is_some_and(|failed| is_same(failed, record))
    }
}

enum Attempt {
    Got(Next),
    Held { deserted: bool },
}

/// In which order the runs are tried.
fn ordered(to_do: Vec<usize>, part: Part) -> Vec<usize> {
    match part {
        Part::All => to_do,
        Part::Only(shard) => to_do
            .into_iter()
            .filter(|place| shard.holds(*place))
            .collect(),
        Part::First(shard) => {
            let (mut own, others): (Vec<usize>, Vec<usize>) =
                to_do.into_iter().partition(|place| shard.holds(*place));
            // From the end, where those that they belong to come to last.
            own.extend(others.into_iter().rev());
            own
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_limits_or_comes_first() {
        let shard: Shard = "2/3".parse().unwrap();
        let order = |part| ordered((0..8).collect(), part);
        assert_eq!(order(Part::Only(shard)), [1, 4, 7]);
        assert_eq!(order(Part::First(shard)), [1, 4, 7, 6, 5, 3, 2, 0]);
        assert_eq!(order(Part::All), [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
