//! Where each weight lies among all of a model's, for gradients and whatever else has one number for each.

use std::ops::Range;

use super::weights::Tensors;

/// All tensors of a model, one after another in ascending order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    slots: Vec<Slot>,
}

/// One tensor's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The tensor's name.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its elements.
    pub range: Range<usize>,
}

impl Layout {
    /// Of these tensors.
    pub fn of(tensors: &dyn Tensors) -> Self {
        let shape = |name: &str| Some((name.to_owned(), tensors.tensor(name)?.shape.to_vec()));
        Self::new(tensors.names().into_iter().filter_map(shape))
    }

    /// Of tensors with these names and shapes, in any order.
    pub fn new(tensors: impl IntoIterator<Item = (String, Vec<usize>)>) -> Self {
        let mut tensors: Vec<(String, Vec<usize>)> = tensors.into_iter().collect();
        tensors.sort_unstable();
        let mut end = 0;
        let slot = |(name, shape): (String, Vec<usize>)| {
            let start = end;
            end += shape.iter().product::<usize>();
            Slot { name, shape, range: start..end }
        };
        Self { slots: tensors.into_iter().map(slot).collect() }
    }

    /// All parts in order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// A tensor's part.
    pub fn slot(&self, name: &str) -> Option<&Slot> {
        let at = self.slots.binary_search_by(|slot| slot.name.as_str().cmp(name)).ok()?;
        self.slots.get(at)
    }

    /// Elements of all tensors.
    pub fn len(&self) -> usize {
        self.slots.last().map_or(0, |slot| slot.range.end)
    }

    /// No elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The part that an element lies in.
    pub(super) fn holding(&self, place: Place) -> Option<&Slot> {
        let after = self.slots.partition_point(|slot| slot.range.start <= place.0);
        self.slots.get(..after)?.iter().rev().find(|slot| slot.range.contains(&place.0))
    }

    /// Where a tensor begins.
    pub(super) fn place(&self, name: &str) -> Place {
        self.slot(name).map_or(Place::NOWHERE, |slot| Place(slot.range.start))
    }
}

/// The first element of a weight in a [`Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

impl Place {
    /// Of what is in no layout.
    pub(super) const NOWHERE: Self = Self(usize::MAX);

    /// The place of an element of this weight.
    pub(super) fn after(self, elements: usize) -> Self {
        Self(self.0.saturating_add(elements))
    }
}

/// The gradient of a loss with respect to every weight of a model.
#[derive(Clone, Debug)]
pub struct Gradients {
    layout: Layout,
    values: Vec<f32>,
}

impl Gradients {
    /// Zeros for these tensors.
    pub fn new(tensors: &dyn Tensors) -> Self {
        let layout = Layout::of(tensors);
        let values = vec![0.0; layout.len()];
        Self { layout, values }
    }

    /// Which element is whose.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// All of them, in the layout's order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The same, to be changed.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// One tensor's.
    pub fn tensor(&self, name: &str) -> Option<&[f32]> {
        self.values.get(self.layout.slot(name)?.range.clone())
    }

    /// Those of `len` elements from a place on.
    ///
    /// # Panics
    /// If the gradients are of another model than the weights: a mistake of the caller.
    pub(super) fn at(&mut self, place: Place, len: usize) -> &mut [f32] {
        &mut self.values[place.0..place.0 + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_found_in_whatever_order_they_came() {
        let layout = Layout::new([("b", 2), ("c", 3), ("a", 1)].map(|(name, n)| (name.to_owned(), vec![n])));
        let ranges = ["a", "b", "c"].map(|name| layout.slot(name).unwrap().range.clone());
        assert_eq!(ranges, [0..1, 1..3, 3..6]);
    }
}
