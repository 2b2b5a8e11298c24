//! Which key a path names.
//!
//! Paths are split before they are decoded, so that an encoded `/` stays a part of its key.

use annulus_proto::model::{FieldRefused, Key, KeyspaceName};

/// What form a request and its answer have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// JSON values, one per key: `/v1/data/…`.
    Data,
    /// Base64 values with contexts, siblings: `/kv/…`.
    Kv,
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) form: Form,
    pub(super) keyspace: KeyspaceName,
    pub(super) key: Key,
}

/// Why a path names no key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PathError {
    /// Nothing is served under it.
    Unknown,
    /// A part of it breaks a rule.
    Refused(FieldRefused),
}

impl From<FieldRefused> for PathError {
    fn from(refused: FieldRefused) -> Self {
        Self::Refused(refused)
    }
}

impl Target {
    /// Reads the raw path of a request.
    pub(super) fn parse(path: &str) -> Result<Self, PathError> {
        if let Some(key) = path.strip_prefix("/kv/") {
            return Ok(Self {
                form: Form::Kv,
                keyspace: KeyspaceName::kv(),
                key: decode_key(key)?,
            });
        }
        if let Some(key) = path.strip_prefix("/v1/data/") {
            let (form, keyspace) = (Form::Data, KeyspaceName::data());
            return Ok(Self {
                form,
                keyspace,
                key: decode_key(key)?,
            });
        }
        let rest = path
            .strip_prefix("/v1/keyspaces/")
            .ok_or(PathError::Unknown)?;
        let mut parts = rest.splitn(3, '/');
        let (Some(keyspace), Some(form), Some(key)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(PathError::Unknown);
        };
        let form = match form {
            "data" => Form::Data,
            "kv" => Form::Kv,
            _ => return Err(PathError::Unknown),
        };
        let keyspace = decode(keyspace, "keyspace")?;
        Ok(Self {
            form,
            keyspace: KeyspaceName::new(&keyspace)?,
            key: decode_key(key)?,
        })
    }
}

fn decode_key(segment: &str) -> Result<Key, FieldRefused> {
    // A second segment is not taken for a part of the key: clients that forget to encode would
    // otherwise work for some keys and not for others ("a/../b").
    if segment.contains('/') {
        return Err(FieldRefused::invalid("key", "holds a '/'; write it as %2F"));
    }
    Key::new(decode(segment, "key")?.into_bytes())
}

fn decode(segment: &str, field: &'static str) -> Result<String, FieldRefused> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()].map(|digit| char::from(digit?).to_digit(16));
        let [Some(high), Some(low)] = digits else {
            return Err(FieldRefused::invalid(
                field,
                "has a '%' without two hexadecimal digits",
            ));
        };
        bytes.push(u8::try_from(high << 4 | low).expect("two hexadecimal digits are a byte"));
    }
    String::from_utf8(bytes).map_err(|_| {
        FieldRefused::invalid(field, "is not UTF-8; use gRPC for keys of arbitrary bytes")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(path: &str) -> Vec<u8> {
        Target::parse(path).unwrap().key.as_bytes().to_vec()
    }

    #[test]
    fn forms_and_keyspaces_are_told_apart() {
        for (path, form, keyspace) in [
            ("/kv/x", Form::Kv, "kv"),
            ("/v1/data/x", Form::Data, "data"),
            ("/v1/keyspaces/orders/kv/x", Form::Kv, "orders"),
            ("/v1/keyspaces/orders/data/x", Form::Data, "orders"),
        ] {
            let target = Target::parse(path).unwrap();
            assert_eq!(
                (target.form, target.keyspace.as_str()),
                (form, keyspace),
                "{path}"
            );
            assert_eq!(target.key.as_bytes(), b"x");
        }
    }

    #[test]
    fn any_character_can_be_encoded() {
        assert_eq!(key_of("/kv/a%2Fb"), b"a/b");
        assert_eq!(key_of("/kv/%00"), b"\0");
        assert_eq!(key_of("/kv/%c3%BC+%2B"), "ü++".as_bytes());
        assert_eq!(key_of("/kv/.."), b"..");
        assert_eq!(key_of(&format!("/kv/{}", "%C3%BC".repeat(256))).len(), 512);
    }

    #[test]
    fn bad_keys_and_keyspaces_are_refused_by_name() {
        for (path, field) in [
            ("/kv/", "key"),
            ("/v1/data/", "key"),
            ("/kv/a/b", "key"),
            ("/kv/%", "key"),
            ("/kv/%4", "key"),
            ("/kv/%zz", "key"),
            ("/kv/%+1", "key"),
            ("/kv/%ff", "key"),
            ("/v1/keyspaces/A/kv/x", "keyspace"),
            ("/v1/keyspaces//kv/x", "keyspace"),
        ] {
            match Target::parse(path) {
                Err(PathError::Refused(refused)) => assert_eq!(refused.field, field, "{path}"),
                other => panic!("{path}: {other:?}"),
            }
        }
        let long = format!("/kv/{}", "a".repeat(257));
        assert!(matches!(Target::parse(&long), Err(PathError::Refused(_))));
    }

    #[test]
    fn other_paths_are_unknown() {
        for path in [
            "/",
            "/kv",
            "/v1",
            "/v1/data",
            "/v1/keyspaces/a/b/c",
            "/v1/keyspaces/a/kv",
        ] {
            assert_eq!(Target::parse(path), Err(PathError::Unknown), "{path}");
        }
    }
}
