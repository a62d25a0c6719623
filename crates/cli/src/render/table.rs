//! Tables of columns two spaces apart, without rules, that fit the page: the widest of the columns that may be cut gives
//! way. Columns in which no row has anything are left out.

use anstyle::Style;

use super::text::{cut, width};
use super::{Page, style};

/// Two columns are never closer.
const GAP: &str = "  ";
/// A column is never cut below this width.
const NARROWEST: usize = 8;

/// A column.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    title: &'static str,
    right: bool,
    may_be_cut: bool,
}

impl Column {
    /// Left-aligned, never cut.
    pub(crate) const fn new(title: &'static str) -> Column {
        Column {
            title,
            right: false,
            may_be_cut: false,
        }
    }

    /// Aligned to the right.
    pub(crate) const fn right(mut self) -> Column {
        self.right = true;
        self
    }

    /// May be cut when the page is too narrow.
    pub(crate) const fn may_be_cut(mut self) -> Column {
        self.may_be_cut = true;
        self
    }
}

/// A cell: plain text and the style it is shown in.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// With a style.
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Cell {
        Cell {
            text: text.into(),
            style,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell {
            text: text.into(),
            style: Style::new(),
        }
    }
}

/// Rows under columns.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(columns: impl Into<Vec<Column>>) -> Table {
        Table {
            columns: columns.into(),
            rows: Vec::new(),
        }
    }

    /// One more row, a cell for each column.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        let cells = cells.into();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The table's lines, each with its line end; nothing without rows.
    pub(crate) fn render(&self, page: &Page) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let widths = self.widths(page);
        let shown: Vec<usize> = (0..self.columns.len())
            .filter(|&index| widths[index] > 0)
            .collect();
        let mut text = String::new();
        let titles: Vec<Cell> = self
            .columns
            .iter()
            .map(|column| Cell::styled(column.title, style::FAINT))
            .collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            for (position, &index) in shown.iter().enumerate() {
                let cell = &row[index];
                let content = cut(&cell.text, widths[index]);
                let blanks = " ".repeat(widths[index].saturating_sub(width(&content)));
                let painted = page.paint(cell.style, &content);
                if position > 0 {
                    line.push_str(GAP);
                }
                if self.columns[index].right {
                    line.push_str(&blanks);
                    line.push_str(&painted);
                } else {
                    line.push_str(&painted);
                    line.push_str(&blanks);
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Each column's width; 0 for those in which nothing stands.
    fn widths(&self, page: &Page) -> Vec<usize> {
        let mut widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let content = self
                    .rows
                    .iter()
                    .map(|row| width(&row[index].text))
                    .max()
                    .unwrap_or(0);
                if content == 0 {
                    0
                } else {
                    content.max(width(column.title))
                }
            })
            .collect();
        let Some(limit) = page.width else {
            return widths;
        };
        loop {
            let shown = widths.iter().filter(|&&width| width > 0).count();
            let total = widths.iter().sum::<usize>() + GAP.len() * shown.saturating_sub(1);
            if total <= limit {
                return widths;
            }
            let widest = (0..widths.len())
                .filter(|&index| self.columns[index].may_be_cut && widths[index] > NARROWEST)
                .max_by_key(|&index| widths[index]);
            let Some(widest) = widest else { return widths };
            widths[widest] = widths[widest]
                .saturating_sub(total - limit)
                .max(NARROWEST)
                .max(widths[widest] / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new([
            Column::new("NAME").may_be_cut(),
            Column::new("CAUSE"),
            Column::new("EXIT").right(),
            Column::new("DETAIL").may_be_cut(),
        ]);
        table.row(["prepare".into(), "".into(), "0".into(), "".into()]);
        table.row([
            Cell::styled("train", style::STRONG),
            "".into(),
            "137".into(),
            "a long line about memory".into(),
        ]);
        table
    }

    #[test]
    fn columns_line_up_and_empty_ones_are_left_out() {
        assert_eq!(
            sample().render(&Page::PLAIN),
            "NAME     EXIT  DETAIL\nprepare     0\ntrain     137  a long line about memory\n"
        );
    }

    #[test]
    fn a_narrow_page_cuts_only_what_may_be_cut() {
        let page = Page {
            width: Some(26),
            ..Page::PLAIN
        };
        assert_eq!(
            sample().render(&page),
            "NAME     EXIT  DETAIL\nprepare     0\ntrain     137  a long lin…\n"
        );
        let too_narrow = Page {
            width: Some(3),
            ..Page::PLAIN
        };
        assert!(
            sample()
                .render(&too_narrow)
                .lines()
                .all(|line| line.len() <= 40),
            "it ends, and stays readable"
        );
    }

    #[test]
    fn colours_do_not_count_as_columns() {
        let page = Page {
            color: true,
            ..Page::PLAIN
        };
        let plain = anstream::adapter::strip_str(&sample().render(&page)).to_string();
        let trimmed: Vec<&str> = plain.lines().map(str::trim_end).collect();
        assert_eq!(trimmed.join("\n") + "\n", sample().render(&Page::PLAIN));
    }
}
