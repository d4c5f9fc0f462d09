//! Lines of ours that are to be published.
use crate::base::batch::batch::Batch;
use crate::base::lines::Lines;
use crate::base::name::Target;
use crate::base::request_id::RequestId;
use crate::base::text::line_form::LineForm;

/// Lines of ours that are to be published.
pub struct Publication {
    /// The room or the recipient.
    pub target: Target,
    /// The lines.
    pub lines: Lines,
    /// What the lines are.
    pub form: LineForm,
    /// The client's request to publish the lines.
    pub request: Option<RequestId>,
}

impl Publication {
    /// Makes a publication of the lines of our batch, so that the lines are published again. Omits
    /// the first `skipped` lines.
    pub fn of_batch(batch: &Batch, mut skipped: u64) -> Publication {
        let mut lines = Lines::default();
        batch.for_each_line(|line| match skipped {
            0 => drop(lines.push(line.as_bytes())),
            _ => skipped -= 1,
        });
        Publication {
            target: batch.log.target.clone(),
            lines,
            form: batch.form,
            request: batch.request.clone(),
        }
    }
}
