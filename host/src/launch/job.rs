//! The array job of an output folder.

use std::path::{Path, PathBuf};
use std::{fmt, fs};

use serde::{Deserialize, Serialize};

use super::{LaunchError, Script, Slurm};
use crate::record::{RecordError, parse_version, read_if_there, write_atomically};

const FOLDER: &str = "slurm";
const JOB: &str = "job.json";
const SCRIPT: &str = "job.sh";
const VERSION: u32 = 1;

/// An array job that was submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayJob {
    pub id: String,
    /// Whether an earlier call submitted it.
    pub joined: bool,
    /// The folder of its script and of what its tasks print.
    pub folder: PathBuf,
}

impl fmt::Display for ArrayJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, joined, folder } = self;
        let how = if *joined {
            "is still queued"
        } else {
            "is submitted"
        };
        write!(
            f,
            "job {id} {how}; its script and its logs are in {}",
            folder.display()
        )
    }
}

/// The content of `slurm/job.json`.
#[derive(Serialize, Deserialize)]
struct Submitted {
    version: u32,
    job: String,
}

/// Submits the array job of an output folder; if the one that was submitted last is still queued, that one is joined.
///
/// # Errors
/// [`LaunchError`].
pub fn submit_or_join(
    output: &Path,
    slurm: Slurm,
    script: &Script,
) -> Result<ArrayJob, LaunchError> {
    let folder = output.join(FOLDER);
    let noted = folder.join(JOB);
    let earlier = match read_if_there(&noted)? {
        Some(json) => {
            parse_version(&noted, &json, VERSION)?;
            serde_json::from_slice::<Submitted>(&json).ok()
        }
        None => None,
    };
    if let Some(Submitted { job, .. }) = earlier
        && slurm.is_queued(&job)?
    {
        return Ok(ArrayJob {
            id: job,
            joined: true,
            folder,
        });
    }
    fs::create_dir_all(&folder).map_err(RecordError::io("create the folder", &folder))?;
    let path = folder.join(SCRIPT);
    write_atomically(&path, script.text(&folder)?.as_bytes())?;
    let job = slurm.submit(&path)?;
    let submitted = Submitted {
        version: VERSION,
        job: job.clone(),
    };
    let mut json = serde_json::to_vec(&submitted).map_err(RecordError::json(&noted))?;
    json.push(b'\n');
    write_atomically(&noted, &json)?;
    Ok(ArrayJob {
        id: job,
        joined: false,
        folder,
    })
}
