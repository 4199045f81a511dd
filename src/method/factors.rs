//! Weights that are more than a number: a factor for each row, or each column, of a tensor.

use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// Factors of a tensor's rows and columns, shared by all who hold them.
#[derive(Clone, Debug)]
pub struct Factors {
    /// One for each row; a single one for all rows.
    rows: Arc<[f32]>,
    /// One for each column; none if all are one.
    columns: Arc<[f32]>,
    /// Where they come from, in words.
    origin: String,
}

impl Factors {
    /// Of rows, one for each or one for all; without any they are one.
    pub fn rows(rows: Vec<f32>, origin: impl Into<String>) -> Self {
        let rows = if rows.is_empty() { vec![1.0] } else { rows };
        Self { rows: rows.into(), columns: Arc::new([]), origin: origin.into() }
    }

    /// Adds factors of columns, one for each.
    #[must_use]
    pub fn with_columns(self, columns: Vec<f32>) -> Self {
        Self { columns: columns.into(), ..self }
    }

    /// Those of the rows `first ..`, so many of them.
    pub fn of_rows(&self, first: usize, count: usize) -> Vec<f32> {
        match &*self.rows {
            [all] => vec![*all; count],
            each => each.iter().skip(first).take(count).copied().collect(),
        }
    }

    /// Of each row, or a single one for all.
    pub fn row_factors(&self) -> &[f32] {
        &self.rows
    }

    /// Of each column; empty if all are one.
    pub fn column_factors(&self) -> &[f32] {
        &self.columns
    }

    /// Where they come from.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Factors that reach from the least to the greatest of both, to describe them together.
    #[must_use]
    pub fn spanning(&self, other: &Self) -> Self {
        let ends = |a: &[f32], b: &[f32]| -> Vec<f32> {
            let both: Vec<f32> = a.iter().chain(b).copied().collect();
            range(&both).map_or_else(Vec::new, |(low, high)| vec![low, high])
        };
        let (rows, columns) = (ends(&self.rows, &other.rows), ends(&self.columns, &other.columns));
        Self::rows(rows, self.origin.clone()).with_columns(columns)
    }

    /// Whether they are factors for a tensor with so many rows of so many columns.
    pub fn fit(&self, rows: usize, columns: usize) -> bool {
        (self.rows.len() == 1 || self.rows.len() == rows)
            && (self.columns.is_empty() || self.columns.len() == columns)
    }

    /// The largest magnitude of the factor of an element.
    pub fn size(&self) -> f64 {
        let largest = |x: &[f32]| x.iter().map(|x| f64::from(x.abs())).reduce(f64::max);
        largest(&self.rows).unwrap_or(1.0) * largest(&self.columns).unwrap_or(1.0)
    }

    /// Where they come from and from where to where they go, as in `rows of counts/et.safetensors, 0.02 to 0.97`.
    pub fn describe(&self) -> String {
        let mut text = self.origin.clone();
        for (what, factors) in [("", &self.rows), ("columns ", &self.columns)] {
            match range(factors) {
                Some((low, high)) if low == high => text += &format!(", {what}{}", short(low)),
                Some((low, high)) => text += &format!(", {what}{} to {}", short(low), short(high)),
                None => {}
            }
        }
        text
    }

    /// All factors as bytes: those of equal factors are equal, wherever they come from.
    pub fn bytes(&self) -> Vec<u8> {
        let count = |x: &[f32]| (x.len() as u64).to_le_bytes();
        let values = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        [count(&self.rows).to_vec(), values(&self.rows), count(&self.columns).to_vec(), values(&self.columns)]
            .concat()
    }
}

/// By their numbers and where they come from.
impl PartialEq for Factors {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Arc<[f32]>, b: &Arc<[f32]>| Arc::ptr_eq(a, b) || a == b;
        same(&self.rows, &other.rows) && same(&self.columns, &other.columns) && self.origin == other.origin
    }
}

/// In a few words and numbers: the factors themselves are in the file that they come from.
impl Serialize for Factors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (low, high) = range(&self.rows).unwrap_or((1.0, 1.0));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("from", &self.origin)?;
        map.serialize_entry("rows", &self.rows.len())?;
        map.serialize_entry("least", &low)?;
        map.serialize_entry("most", &high)?;
        if let Some((low, high)) = range(&self.columns) {
            map.serialize_entry("columns", &self.columns.len())?;
            map.serialize_entry("least_of_columns", &low)?;
            map.serialize_entry("most_of_columns", &high)?;
        }
        map.end()
    }
}

/// Weights by the models' differences: each row gets the share that its length, to a power, has among those of all models
/// with such a weight, times a scale.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct NormShare {
    /// Of the length of a row of the difference.
    pub power: f64,
    /// What the shares of a row add up to.
    pub scale: f64,
}

impl NormShare {
    /// As in `share of row norms, power 0.5, times 2`.
    pub fn describe(self) -> String {
        let power = if self.power == 1.0 { String::new() } else { format!(", power {}", self.power) };
        let scale = if self.scale == 1.0 { String::new() } else { format!(", times {}", self.scale) };
        format!("share of row norms{power}{scale}")
    }
}

fn range(x: &[f32]) -> Option<(f32, f32)> {
    Some((x.iter().copied().reduce(f32::min)?, x.iter().copied().reduce(f32::max)?))
}

/// Three digits: what a reader wants to know is how far rows differ.
fn short(x: f32) -> String {
    if x == 0.0 || (1e-3..1e6).contains(&x.abs()) {
        let digits = 2i32.saturating_sub(x.abs().max(1e-30).log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{x:.digits$}");
        return match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        };
    }
    format!("{x:.2e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_fit_or_do_not() {
        let one = Factors::rows(vec![0.5], "file");
        assert!(one.fit(7, 3) && one.of_rows(5, 2) == [0.5, 0.5]);
        let rows = Factors::rows(vec![1.0, -2.0, 3.0], "rows of a").with_columns(vec![0.25, 4.0]);
        assert!(rows.fit(3, 2) && !rows.fit(2, 2) && !rows.fit(3, 3));
        assert_eq!(rows.of_rows(1, 2), [-2.0, 3.0]);
        assert_eq!(rows.size(), 12.0);
        assert_eq!(rows.describe(), "rows of a, -2 to 3, columns 0.25 to 4");
        let more = Factors::rows(vec![0.5], "rows of a");
        assert_eq!(rows.spanning(&more).describe(), "rows of a, -2 to 3, columns 0.25 to 4");
        assert_eq!(more.spanning(&Factors::rows(vec![0.25, 0.75], "")).describe(), "rows of a, 0.25 to 0.75");
        assert_ne!(rows.bytes(), Factors::rows(vec![1.0, -2.0, 3.0, 0.25, 4.0], "").bytes());
    }

    #[test]
    fn numbers_are_short() {
        for (x, text) in
            [(0.021_37, "0.0214"), (0.97, "0.97"), (1.0, "1"), (12.34, "12.3"), (0.0, "0"), (1e-9, "1.00e-9")]
        {
            assert_eq!(short(x), text);
        }
        assert_eq!(short(-123.4), "-123");
        assert_eq!(NormShare { power: 0.5, scale: 1.0 }.describe(), "share of row norms, power 0.5");
    }
}
