//! Printing answers: a table for people, JSON and YAML for programs.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people; its form may change.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
}

/// Prints an answer to stdout; `table` writes its form for people.
pub(crate) fn print<T: Serialize>(
    format: Format,
    answer: &T,
    table: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let text = match format {
        Format::Table => table(answer),
        Format::Json => serde_json::to_string_pretty(answer)?,
        Format::Yaml => serde_yaml::to_string(answer)?,
    };
    write(format!("{}\n", text.trim_end()).as_bytes())
}

/// Writes to stdout. A reader that has seen enough (`| head`) is no error.
pub(crate) fn write(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Rows under a header, aligned with spaces, as kubectl does it.
pub(crate) fn table<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    right_aligned: &[usize],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.map(str::to_uppercase));
    for row in rows {
        table.add_row(row);
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right_aligned.contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_have_no_trailing_space() {
        let rows = [["node-0", "1"], ["n", "100"]].map(|row| row.map(str::to_owned));
        let text = table(["name", "keys"], &[1], rows);
        assert_eq!(text, "NAME    KEYS\nnode-0     1\nn        100");
    }
}
