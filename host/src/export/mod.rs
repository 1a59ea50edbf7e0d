//! What a run learnt, for other programs: an adapter for PEFT, a merged or a whole model for transformers.

mod adapter;
mod card;
mod error;
mod provenance;
mod vllm;
mod write;

pub use adapter::Files;
pub(crate) use adapter::place;
pub use error::ExportError;
pub use provenance::{Exported, PROVENANCE_FILE};
pub(crate) use write::refuse_existing;
pub use write::{Form, Request, Server, Written, export};
