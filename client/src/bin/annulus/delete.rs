//! `annulus delete`.

use annulus_client::{Consistency, Context, DeleteOptions};
use serde::Serialize;

use crate::args::{Connection, KeyArgs};
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::text;

/// Deletes a key.
///
/// Without --context, what a read now shows is deleted; with it, exactly what was seen then, and
/// newer values stay.
///
/// Examples:
///   annulus delete greeting
///   annulus delete greeting --context "$(annulus get greeting -o json | jq -r .context)"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Delete {
    #[command(flatten)]
    key: KeyArgs,

    /// What was seen of the key and is now deleted, from `annulus get -o json`.
    #[arg(long, value_name = "CONTEXT", value_parser = text::context)]
    context: Option<Context>,

    /// Replicas that the read of a delete without context asks.
    #[arg(long, value_name = "LEVEL")]
    read_consistency: Option<Consistency>,

    /// Replicas that must hold the delete: one, quorum, all, local_quorum or a number.
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
    deleted: bool,
    context: Option<String>,
    /// Other nodes keep it for owners that are away.
    sloppy: bool,
}

pub(crate) async fn run(
    connection: &Connection,
    format: Format,
    command: Delete,
) -> anyhow::Result<Exit> {
    let client = connection.client().await?;
    let options = DeleteOptions {
        read_consistency: command.read_consistency,
        write_consistency: command.write_consistency,
        context: command.context,
        sloppy: command.sloppy,
        ..DeleteOptions::of(command.key.keyspace.clone())
    };
    let removal = client.delete(&command.key.key, &options).await?;
    let answer = Answer {
        keyspace: command.key.keyspace.to_string(),
        key: String::from_utf8_lossy(command.key.key.as_bytes()).into_owned(),
        deleted: removal.deleted,
        context: removal.context.as_ref().map(text::show_context),
        sloppy: removal.sloppy,
    };
    if format != Format::Table {
        output::print(format, &answer, |_| String::new())?;
    }
    if removal.deleted {
        if format == Format::Table {
            eprintln!("deleted");
        }
        return Ok(Exit::Done);
    }
    eprintln!(
        "error: key {} not found in keyspace {}",
        command.key.key, command.key.keyspace
    );
    Ok(Exit::NotFound)
}
