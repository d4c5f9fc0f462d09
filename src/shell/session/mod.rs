//! One user's session: commands come in, events go out.
pub mod builder;
pub mod command_queue;
pub mod exit_policy;
pub mod history_query;
pub mod history_worker;
pub mod input;
pub mod output;
pub mod renderer;
pub mod replies;
pub mod reply_format;
#[allow(clippy::module_inception)]
pub mod session;
pub mod shutdown;
pub mod transcript;
