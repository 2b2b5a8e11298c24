//! `annulus get`.

use std::io::IsTerminal;

use annulus_client::{Consistency, Context, GetOptions, Reading};
use serde::Serialize;

use crate::args::{Connection, KeyArgs};
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::text;

/// Reads a key and prints its value, byte for byte.
///
/// Concurrent values (siblings) are printed one a line. Merge them and write the result back with
/// the context that `-o json` shows.
///
/// Examples:
///   annulus get greeting
///   annulus get greeting --read-consistency all
///   annulus get greeting -o json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Get {
    #[command(flatten)]
    key: KeyArgs,

    /// Replicas that must answer: one, quorum, all, local_quorum or a number.
    #[arg(long, value_name = "LEVEL")]
    read_consistency: Option<Consistency>,

    /// A context from an earlier answer about this key: see at least that much.
    #[arg(long, value_name = "CONTEXT", value_parser = text::context)]
    min_context: Option<Context>,
}

#[derive(Serialize)]
struct Answer {
    keyspace: String,
    key: String,
    values: Vec<Value>,
    context: Option<String>,
    version: u64,
}

#[derive(Serialize)]
struct Value {
    /// The value as text; null when it is no UTF-8.
    text: Option<String>,
    /// The value's bytes in base64.
    #[serde(rename = "value")]
    base64: String,
    context: Option<String>,
}

pub(crate) async fn run(
    connection: &Connection,
    format: Format,
    command: Get,
) -> anyhow::Result<Exit> {
    let client = connection.client().await?;
    let options = GetOptions {
        consistency: command.read_consistency,
        min_context: command.min_context,
        ..GetOptions::of(command.key.keyspace.clone())
    };
    let reading = client.get(&command.key.key, &options).await?;
    let exit = if reading.is_absent() {
        Exit::NotFound
    } else {
        Exit::Done
    };
    if exit == Exit::NotFound {
        eprintln!(
            "error: key {} not found in keyspace {}",
            command.key.key, command.key.keyspace
        );
    }
    match format {
        Format::Table if exit == Exit::Done => print_values(&reading)?,
        Format::Table => {}
        format => output::print(format, &answer(&command.key, &reading), |_| String::new())?,
    }
    Ok(exit)
}

fn print_values(reading: &Reading) -> anyhow::Result<()> {
    let ends_with_newline = reading.values.len() > 1 || std::io::stdout().is_terminal();
    for sibling in &reading.values {
        output::write(&sibling.value)?;
        if ends_with_newline {
            output::write(b"\n")?;
        }
    }
    if reading.values.len() > 1 {
        eprintln!(
            "hint: {} concurrent values; merge them, and write the result back: \
             annulus put KEY VALUE --context (the outer context of `annulus get KEY -o json`)",
            reading.values.len()
        );
    }
    Ok(())
}

fn answer(key: &KeyArgs, reading: &Reading) -> Answer {
    let value = |sibling: &annulus_client::Sibling| Value {
        text: std::str::from_utf8(&sibling.value).ok().map(str::to_owned),
        base64: text::base64(&sibling.value),
        context: sibling.context.as_ref().map(text::show_context),
    };
    Answer {
        keyspace: key.keyspace.to_string(),
        key: String::from_utf8_lossy(key.key.as_bytes()).into_owned(),
        values: reading.values.iter().map(value).collect(),
        context: reading.context.as_ref().map(text::show_context),
        version: reading.version,
    }
}
