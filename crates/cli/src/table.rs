//! Tables that fit the terminal.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, presets};

use crate::text::escaped;

/// Rows under a head, without lines between them: easy to read, and to cut with other tools.
#[derive(Debug)]
pub(crate) struct Table {
    inner: comfy_table::Table,
    right: Vec<bool>,
    /// The columns that are never broken. Half of a number would be another number, and half of an id cannot be copied.
    whole: Vec<bool>,
}

impl Table {
    /// A table with these columns; the names of numbers end with `>`, and are aligned to the right, those of ids with `!`.
    pub(crate) fn new<const N: usize>(columns: [&str; N]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(presets::NOTHING);
        let mut table = Self {
            inner,
            right: columns.map(|column| column.ends_with('>')).to_vec(),
            whole: columns.map(|column| column.ends_with(['>', '!'])).to_vec(),
        };
        let head = table.cells(columns.map(|column| column.trim_end_matches(['>', '!']).to_owned()));
        table.inner.set_header(head);
        table
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        let cells = self.cells(cells);
        self.inner.add_row(cells);
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    fn cells<const N: usize>(&self, cells: [String; N]) -> Vec<Cell> {
        let aligned = cells.iter().zip(&self.right).map(|(text, right)| {
            Cell::new(escaped(text)).set_alignment(match right {
                true => CellAlignment::Right,
                false => CellAlignment::Left,
            })
        });
        aligned.collect()
    }

    /// The lines, broken to a width if there is one.
    pub(crate) fn lines(mut self, width: Option<u16>) -> Vec<String> {
        let gap = if width.is_some_and(|width| width < 100) { 1 } else { 2 };
        let last = self.whole.len().saturating_sub(1);
        for (index, column) in self.inner.column_iter_mut().enumerate() {
            column.set_padding((0, if index == last { 0 } else { gap }));
            if self.whole[index] {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        if let Some(width) = width {
            self.inner
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width);
        }
        self.inner.lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_the_width_and_breaks_no_number() {
        let mut table = Table::new(["event_type", "events>"]);
        table.row([
            "a.very.long.type.of.event.that.goes.on".to_owned(),
            "1234567".to_owned(),
        ]);
        table.row(["b\x1b[2J".to_owned(), "1".to_owned()]);
        let lines = table.lines(Some(30));
        assert!(lines.iter().all(|line| line.chars().count() <= 30), "{lines:#?}");
        assert!(lines.iter().any(|line| line.ends_with("1234567")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with(r"b\u{1b}[2J")), "{lines:#?}");
    }
}
