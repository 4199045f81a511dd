//! Vocabularies once more, with maps and loops: which token has which id, and what its row is.

use std::collections::BTreeMap;

/// A model: its tokens in the order of their ids, how many of the last are added ones, and its matrix.
#[derive(Clone)]
pub struct Model {
    pub tokens: Vec<String>,
    pub added: usize,
    pub matrix: Vec<Vec<f64>>,
}

impl Model {
    /// The row of a token, if the matrix has it.
    pub fn row(&self, token: &str) -> Option<&Vec<f64>> {
        let id = self.tokens.iter().position(|t| t == token)?;
        self.matrix.get(id)
    }

    /// A row behind the tokens.
    fn padding(&self, id: usize) -> Option<&Vec<f64>> {
        self.matrix.get(id).filter(|_| id >= self.tokens.len())
    }

    fn with_rows(&self) -> &[String] {
        &self.tokens[..self.tokens.len().min(self.matrix.len())]
    }

    fn is_added(&self, token: &str) -> bool {
        self.tokens[self.tokens.len() - self.added..].iter().any(|t| t == token)
    }
}

/// What a recipe says of one token.
#[derive(Clone)]
pub struct Rule {
    pub token: String,
    pub row: Option<Vec<f64>>,
    pub force: bool,
}

/// All tokens of the base, then the plain ones of the others, then their added ones.
pub fn union(models: &[Model], base: usize) -> Vec<String> {
    let mut all = models[base].tokens.clone();
    let others = || models.iter().enumerate().filter(|(i, _)| *i != base).map(|(_, m)| m);
    let added_somewhere =
        |token: &str| others().any(|m| m.with_rows().iter().any(|t| t == token) && m.is_added(token));
    for model in others() {
        for token in model.with_rows() {
            if !added_somewhere(token) && !all.contains(token) {
                all.push(token.clone());
            }
        }
    }
    for model in others() {
        for token in model.with_rows() {
            if model.is_added(token) && !all.contains(token) {
                all.push(token.clone());
            }
        }
    }
    all
}

/// The matrix of one model over the output's tokens; `owner` is whose vocabulary the output begins with.
pub fn matrix(
    models: &[Model],
    model: usize,
    base: usize,
    owner: usize,
    tokens: &[String],
    rows: usize,
    rules: &[Rule],
) -> Vec<Vec<f64>> {
    let rules: BTreeMap<&str, &Rule> = rules.iter().map(|rule| (rule.token.as_str(), rule)).collect();
    let width = models[model].matrix[0].len();
    let made: Vec<Option<Vec<f64>>> = (0..rows)
        .map(|id| {
            let Some(token) = tokens.get(id) else {
                return models[model].padding(id).or(models[owner].padding(id)).cloned();
            };
            let rule = rules.get(token.as_str());
            let own = models[model].row(token);
            match (rule, own) {
                (Some(Rule { row: Some(row), force: true, .. }), _) => return Some(row.clone()),
                (_, Some(own)) => return Some(own.clone()),
                (Some(Rule { row: Some(row), .. }), None) => return Some(row.clone()),
                _ => {}
            }
            if let Some(row) = models[base].row(token) {
                return Some(row.clone());
            }
            let there: Vec<&Vec<f64>> = models.iter().filter_map(|m| m.row(token)).collect();
            (!there.is_empty()).then(|| mean(&there, width))
        })
        .collect();
    let known: Vec<&Vec<f64>> = made.iter().flatten().collect();
    let average = mean(&known, width);
    made.into_iter().map(|row| row.unwrap_or_else(|| average.clone())).collect()
}

fn mean(rows: &[&Vec<f64>], width: usize) -> Vec<f64> {
    (0..width).map(|i| rows.iter().map(|row| row[i]).sum::<f64>() / rows.len() as f64).collect()
}
