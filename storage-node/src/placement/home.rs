//! Where the placement outlives the process.

use std::sync::Arc;

use annulus_ring::Placement;
use uuid::Uuid;

use super::file;
use super::store::InstallError;
#[cfg(feature = "simulation")]
use crate::simulation::SimFile;
use crate::storage::DataDir;

/// See the module.
#[derive(Debug)]
pub(crate) enum Home {
    /// It ends with the process.
    #[cfg(any(test, feature = "simulation"))]
    Nowhere,
    /// The file in the data directory.
    DataDir(Arc<DataDir>),
    /// The file of a simulated disk.
    #[cfg(feature = "simulation")]
    Simulated(SimFile),
}

impl Home {
    /// What is kept; `None` before the first.
    pub(super) async fn read(&self) -> Result<Option<Placement>, InstallError> {
        match self {
            #[cfg(any(test, feature = "simulation"))]
            Self::Nowhere => Ok(None),
            Self::DataDir(data_dir) => {
                let data_dir = data_dir.clone();
                Ok(blocking(move || file::read(data_dir.path())).await?)
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(file) => Ok(file.read()),
        }
    }

    /// Keeps a placement; it is on disk when this returns.
    pub(super) async fn write(&self, placement: &Arc<Placement>) -> Result<(), InstallError> {
        match self {
            #[cfg(any(test, feature = "simulation"))]
            Self::Nowhere => Ok(()),
            Self::DataDir(data_dir) => {
                let (data_dir, placement) = (data_dir.clone(), placement.clone());
                blocking(move || {
                    data_dir.join_cluster(placement.cluster_id())?;
                    Ok(file::write(data_dir.path(), &placement)?)
                })
                .await
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(file) => {
                file.write(placement);
                Ok(())
            }
        }
    }

    /// The cluster that the data belongs to, once known.
    pub(super) fn cluster(&self) -> Option<Uuid> {
        match self {
            #[cfg(any(test, feature = "simulation"))]
            Self::Nowhere => None,
            Self::DataDir(data_dir) => data_dir.cluster_id(),
            #[cfg(feature = "simulation")]
            Self::Simulated(file) => file.read().map(|placement| placement.cluster_id()),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    #[expect(
        clippy::disallowed_methods,
        reason = "file work blocks; simulations keep no file"
    )]
    let work = tokio::task::spawn_blocking(work);
    work.await
        .expect("file work does not panic and is not cancelled while the runtime runs")
}
