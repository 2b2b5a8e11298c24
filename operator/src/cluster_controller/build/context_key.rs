//! The secret key under which nodes tag contexts, made once and kept.
//!
//! A new key would make every context that a client holds worthless, so the Secret is
//! immutable, is only ever created, never read or changed (the operator needs no right to read
//! Secrets), and stays as long as the claims do.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use crate::cluster_controller::build::cluster_meta;
use crate::cluster_controller::validate::ValidCluster;
use crate::names;

/// Length of the key.
const CONTEXT_KEY_BYTES: usize = 32;
/// Key in the Secret, and name of the file where it is mounted.
pub(super) const CONTEXT_KEY_FILE: &str = "context.key";

/// The Secret with `key`, to be created if there is none.
pub(crate) fn context_key(cluster: &ValidCluster, key: [u8; CONTEXT_KEY_BYTES]) -> Secret {
    let mut metadata = cluster_meta(cluster, names::context_key_secret(&cluster.name));
    if cluster.keeps_data() {
        metadata.owner_references = None;
    }
    let data = BTreeMap::from([(CONTEXT_KEY_FILE.to_owned(), ByteString(key.to_vec()))]);
    Secret {
        metadata,
        data: Some(data),
        immutable: Some(true),
        ..Secret::default()
    }
}
