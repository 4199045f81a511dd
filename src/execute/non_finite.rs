//! What is said of NaN and infinity: which tensor, which row.

use std::cell::Cell;

use super::lens::Lens;
use super::run::{Context, Run};
use crate::device::{Chunk, Device, Finiteness};
use crate::problem::{Error, Problem};

impl<'a> Run<'a> {
    pub(super) fn non_finite_input<D: Device>(
        &self,
        context: &Context<'a, D>,
        lens: &Lens<'_>,
        start: usize,
        chunk: Chunk<'_>,
    ) -> Error {
        let inputs = &context.plan.inputs;
        let element = Cell::new(start);
        let found = self.first_non_finite(context, chunk, |at| {
            element.set(start + at);
            lens.place(start + at)
        });
        let model = lens.model(inputs, element.get());
        let tensor = match inputs[lens.source.input].stage() {
            None => lens.leaves.first().map_or(&lens.info.name, |leaf| &leaf.info().name),
            Some(_) => &lens.info.name,
        };
        let renamed = if *tensor == self.job.name { String::new() } else { format!(" (there {tensor})") };
        let what = format!("model {model}{renamed} has {found}");
        Problem::error(&self.job.name, what)
            .hint("the checkpoint is damaged; `non_finite: allow` at the top of the recipe merges it all the same")
            .into()
    }

    pub(super) fn non_finite_output<D: Device>(
        &self,
        context: &Context<'a, D>,
        start: usize,
        chunk: Chunk<'_>,
    ) -> Error {
        let what = format!(
            "the merged tensor has {}",
            self.first_non_finite(context, chunk, |at| (start + at, self.job.width()))
        );
        Problem::error(&self.job.name, what)
            .hint(format!(
                "the inputs are finite, so a parameter or the range of {} is at fault; \
                 `non_finite: allow` at the top of the recipe writes it all the same",
                self.job.dtype.torch_name()
            ))
            .into()
    }

    fn first_non_finite<D: Device>(
        &self,
        context: &Context<'a, D>,
        chunk: Chunk<'_>,
        place: impl Fn(usize) -> (usize, usize),
    ) -> String {
        let size = chunk.dtype.size();
        let element = |bytes| Chunk { dtype: chunk.dtype, bytes };
        let at =
            chunk.bytes.chunks(size).position(|b| context.host.finite(element(b)) == Finiteness::NonFinite);
        let Some(at) = at else { return "a value that is not finite".into() };
        let bytes = chunk.bytes.get(at * size..(at + 1) * size).unwrap_or_default();
        let value = match context.host.load(element(bytes)) {
            Ok(x) if x.values().iter().any(|x| x.is_nan()) => "NaN",
            _ => "infinity",
        };
        let (flat, width) = place(at);
        match self.job.shape.len() {
            0 | 1 => format!("{value} at element {flat}"),
            _ => format!("{value} in row {}, column {}", flat / width, flat % width),
        }
    }
}
