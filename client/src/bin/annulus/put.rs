//! `annulus put`.

use std::io::Read;

use annulus_client::{Consistency, Context, KeyspaceName, PutOptions, TimeToLive};
use anyhow::Context as _;
use serde::Serialize;

use crate::args::{Connection, KeyArgs};
use crate::exit::{Exit, UsageError};
use crate::output::{self, Format};
use crate::text;

/// The largest value that is read from a file or stdin; the server's own limit is lower.
const MAX_VALUE_BYTES: u64 = 32 << 20;

/// Writes a key.
///
/// Without --context the write is blind: in keyspace `kv` it becomes a sibling of what is there.
///
/// Examples:
///   annulus put greeting hello
///   annulus put greeting hello --ttl 60s
///   annulus put picture @cat.png
///   date | annulus put now -
///   annulus put greeting merged --context "$(annulus get greeting -o json | jq -r .context)"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Put {
    #[command(flatten)]
    key: KeyArgs,

    /// The value; `-` reads it from stdin, `@FILE` from a file.
    #[arg(value_name = "VALUE|-|@FILE", allow_hyphen_values = true)]
    value: String,

    /// How long the value lives, such as 60s or 2h; a bare number is seconds.
    #[arg(long, value_name = "TIME", value_parser = text::ttl, allow_hyphen_values = true)]
    ttl: Option<TimeToLive>,

    /// What was seen of the key and is now replaced, from `annulus get -o json`.
    #[arg(long, value_name = "CONTEXT", value_parser = text::context)]
    context: Option<Context>,

    /// Replicas that must hold the write: one, quorum, all, local_quorum or a number.
    #[arg(long, value_name = "LEVEL")]
    write_consistency: Option<Consistency>,

    /// Lets other nodes stand in for owners that are away, where the keyspace allows it.
    #[arg(long)]
    sloppy: bool,
}

#[derive(Serialize)]
struct Answer {
    keyspace: String,
    key: String,
    context: Option<String>,
    version: u64,
    /// Other nodes keep it for owners that are away.
    sloppy: bool,
}

pub(crate) async fn run(
    connection: &Connection,
    format: Format,
    command: Put,
) -> anyhow::Result<Exit> {
    let value = read_value(&command.value)?;
    if command.key.keyspace == KeyspaceName::data()
        && serde_json::from_slice::<serde::de::IgnoredAny>(&value).is_err()
    {
        eprintln!(
            "hint: the value is no JSON, so `GET /v1/data/…` can't show it; \
             write text as '\"text\"'"
        );
    }
    let client = connection.client().await?;
    let options = PutOptions {
        consistency: command.write_consistency,
        ttl: command.ttl,
        context: command.context,
        sloppy: command.sloppy,
        ..PutOptions::of(command.key.keyspace.clone())
    };
    let writing = client.put(&command.key.key, value, &options).await?;
    let answer = Answer {
        keyspace: command.key.keyspace.to_string(),
        key: String::from_utf8_lossy(command.key.key.as_bytes()).into_owned(),
        context: writing.context.as_ref().map(text::show_context),
        version: writing.version,
        sloppy: writing.sloppy,
    };
    match format {
        Format::Table if answer.sloppy => eprintln!("written (sloppy)"),
        Format::Table => eprintln!("written"),
        format => output::print(format, &answer, |_| String::new())?,
    }
    Ok(Exit::Done)
}

fn read_value(argument: &str) -> anyhow::Result<Vec<u8>> {
    if argument == "-" {
        read_bounded(std::io::stdin().lock(), "stdin")
    } else if let Some(path) = argument.strip_prefix('@') {
        let file = std::fs::File::open(path).with_context(|| format!("open {path}"))?;
        read_bounded(file, path)
    } else {
        Ok(argument.as_bytes().to_vec())
    }
}

fn read_bounded(source: impl Read, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut value = Vec::new();
    source
        .take(MAX_VALUE_BYTES + 1)
        .read_to_end(&mut value)
        .with_context(|| format!("read the value from {name}"))?;
    if value.len() as u64 > MAX_VALUE_BYTES {
        let limit = text::show_bytes(MAX_VALUE_BYTES);
        return Err(UsageError(format!("{name} holds more than {limit}")).into());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_from_the_argument_or_a_file() {
        assert_eq!(read_value("hello").unwrap(), b"hello");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\0bytes").unwrap();
        assert_eq!(
            read_value(&format!("@{}", file.path().display())).unwrap(),
            b"\0bytes"
        );
        assert!(read_value("@/no/such/file").is_err());
    }

    #[test]
    fn an_endless_value_is_refused() {
        let error = read_bounded(std::io::repeat(0), "stdin").unwrap_err();
        assert!(error.is::<UsageError>());
    }
}
