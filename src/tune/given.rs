//! What a recipe says of a tensor's coefficients: weight times lambda, over the sum of weights where that is asked for.

use crate::method::{Arg, Args, Factors, Method};
use crate::plan::Job;
use crate::problem::{Problem, Problems};

/// Factors of each of the job's models.
///
/// # Errors
/// If a weight follows from the differences, or factors of columns are to be divided by their sum.
pub(super) fn given(method: &'static Method, job: &Job, rows: usize) -> Result<Vec<Factors>, Problems> {
    let number = |name: &str| method.param(name).and_then(|p| job.global.number(p).ok());
    let lambda = number("lambda").unwrap_or(1.0) as f32;
    let weights = job.per_model.iter().map(|args| weight(args, job)).collect::<Result<Vec<_>, _>>()?;
    let mut divisors = vec![1.0f32; rows];
    if number("normalize").unwrap_or(0.0) != 0.0 {
        if weights.iter().any(|w| !w.column_factors().is_empty()) {
            let what = "weights of columns are divided by their sum, which has no such coefficients";
            return Err(Problem::error(&job.name, what).hint("set `normalize: false`").into());
        }
        let of_models: Vec<Vec<f32>> = weights.iter().map(|w| w.of_rows(0, rows)).collect();
        for (row, divisor) in divisors.iter_mut().enumerate() {
            let sum: f32 = of_models.iter().map(|w| w[row]).sum();
            // As the method has it: weights that cancel out divide by nothing.
            *divisor = if sum.abs() < 1e-8 { 1.0 } else { sum };
        }
    }
    let scaled = |weight: &Factors| {
        let rows: Vec<f32> =
            weight.of_rows(0, rows).iter().zip(&divisors).map(|(w, divisor)| w * lambda / divisor).collect();
        Factors::rows(rows, "recipe").with_columns(weight.column_factors().to_vec())
    };
    Ok(weights.iter().map(scaled).collect())
}

fn weight(args: &Args, job: &Job) -> Result<Factors, Problems> {
    match args.iter().find(|(name, _)| *name == "weight").map(|(_, arg)| arg) {
        Some(Arg::Number(x)) => Ok(Factors::rows(vec![*x as f32], "recipe")),
        Some(Arg::Factors(factors)) => Ok(factors.clone()),
        Some(Arg::Word(_) | Arg::Norms { .. }) | None => {
            let what = "a weight that follows from the differences cannot be learned from";
            Err(Problem::error(&job.name, what).hint("begin with numbers, counts or a file").into())
        }
    }
}
