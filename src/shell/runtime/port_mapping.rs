//! The port mapping of `--nat`, if this run has one. A build without the feature `nat` has none.
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
#[cfg(feature = "nat")]
use crate::shell::net::nat::mapper::{MappingNews, PortMapper};
#[cfg(feature = "nat")]
use crate::shell::state::identity_file::random_bytes;

/// Tells where hosts of other networks reach our port.
pub type ExternalSource = Box<dyn Fn() -> Option<SocketAddr> + Send + Sync>;

/// The port mapping of a run.
#[derive(Default)]
pub struct PortMapping {
    #[cfg(feature = "nat")]
    mapper: Option<Arc<PortMapper>>,
}

#[cfg(feature = "nat")]
impl PortMapping {
    /// Starts to map the TCP port, if the options ask for it. `wake` wakes the event loop.
    ///
    /// # Errors
    /// Exit status 1: the system gives no random bytes.
    pub fn start(
        options: &Options,
        port: u16,
        wake: &Arc<dyn Fn() + Send + Sync>,
    ) -> Result<PortMapping, Failure> {
        if !options.nat {
            return Ok(PortMapping::default());
        }
        let nonce = random_bytes()?.first_chunk().copied().unwrap_or_default();
        let (interfaces, wake) = (options.interfaces.clone(), Arc::clone(wake));
        let mapper = PortMapper::start(port, interfaces, nonce, wake);
        Ok(PortMapping {
            mapper: Some(Arc::new(mapper)),
        })
    }

    /// Where hosts of other networks reach our port.
    pub fn external(&self) -> Option<SocketAddr> {
        self.mapper.as_ref().and_then(|it| it.external())
    }

    /// The same, for a helper thread.
    pub fn external_source(&self) -> ExternalSource {
        let mapper = self.mapper.clone();
        Box::new(move || mapper.as_ref().and_then(|it| it.external()))
    }

    /// Takes what the user is to be told: a warning (`Err`), or a line for --debug (`Ok`).
    pub fn take_news(&self) -> Option<Result<String, String>> {
        match self.mapper.as_ref().and_then(|it| it.take_news())? {
            MappingNews::Mapped(sentence) => Some(Ok(sentence)),
            MappingNews::Failed(sentence) => Some(Err(sentence)),
        }
    }

    /// Adds to /stats whether the port is mapped, and why not.
    pub fn add_stats(
        &self,
        counters: &mut Vec<(Cow<'static, str>, u64)>,
        troubles: &mut Vec<(Cow<'static, str>, String)>,
    ) {
        let Some(mapper) = &self.mapper else {
            return;
        };
        let is_mapped = mapper.external().is_some();
        counters.push((Cow::Borrowed("nat_mapped"), is_mapped.into()));
        troubles.extend(mapper.trouble().map(|it| (Cow::Borrowed("nat"), it)));
    }

    /// Maps the port again, as the interfaces have changed.
    pub fn handle_interfaces(&self) {
        self.mapper.iter().for_each(|it| it.handle_interfaces());
    }

    /// Begins to delete the mapping, as the program ends.
    pub fn begin_delete(&self) {
        self.mapper.iter().for_each(|it| it.stop());
    }

    /// Waits until the mapping is deleted, at most for this time.
    pub fn wait_deleted(&self, timeout: Duration) {
        self.mapper.iter().for_each(|it| it.wait_stopped(timeout));
    }
}

/// Without the feature there is nothing to do. The options refuse `--nat`.
#[cfg(not(feature = "nat"))]
#[allow(missing_docs)]
impl PortMapping {
    pub fn start(
        _: &Options,
        _: u16,
        _: &Arc<dyn Fn() + Send + Sync>,
    ) -> Result<PortMapping, Failure> {
        Ok(PortMapping::default())
    }

    pub fn external(&self) -> Option<SocketAddr> {
        None
    }

    pub fn external_source(&self) -> ExternalSource {
        Box::new(|| None)
    }

    pub fn take_news(&self) -> Option<Result<String, String>> {
        None
    }

    pub fn add_stats(
        &self,
        _: &mut Vec<(Cow<'static, str>, u64)>,
        _: &mut Vec<(Cow<'static, str>, String)>,
    ) {
    }

    pub fn handle_interfaces(&self) {}

    pub fn begin_delete(&self) {}

    pub fn wait_deleted(&self, _: Duration) {}
}
