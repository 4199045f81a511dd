//! A map whose values are made once, however many threads ask for one at the same time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Made values by key. Threads that want one that is being made wait for it; others do not.
#[derive(Debug)]
pub(super) struct Once<K, V> {
    places: Mutex<HashMap<K, Place<V>>>,
}

/// Where a value is, or will be.
type Place<V> = Arc<Mutex<Option<Arc<V>>>>;

impl<K: Eq + Hash, V> Once<K, V> {
    pub(super) fn new() -> Self {
        Self { places: Mutex::new(HashMap::new()) }
    }

    /// The value of a key, made if there is none. Failures are not kept: the next who asks tries again.
    pub(super) fn get<E>(&self, key: K, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        let place = Arc::clone(lock(&self.places).entry(key).or_default());
        let mut value = lock(&place);
        if let Some(value) = &*value {
            return Ok(Arc::clone(value));
        }
        let made = Arc::new(make()?);
        *value = Some(Arc::clone(&made));
        Ok(made)
    }
}

/// A thread that panicked leaves the map, and each place, as it was before or after a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn many_threads_at_once_make_one_value() {
        let (once, made, together) = (Once::new(), AtomicUsize::new(0), Barrier::new(8));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    together.wait();
                    let value = once.get("key", || {
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        Ok::<_, ()>(made.fetch_add(1, Ordering::Relaxed))
                    });
                    assert_eq!(*value.unwrap(), 0);
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn failures_are_tried_again_and_keys_are_apart() {
        let once = Once::new();
        assert_eq!(once.get(1, || Err::<&str, _>("no")), Err("no"));
        assert_eq!(*once.get(1, || Ok::<_, ()>("yes")).unwrap(), "yes");
        assert_eq!(*once.get(2, || Ok::<_, ()>("other")).unwrap(), "other");
        assert_eq!(*once.get(1, || Err::<&str, _>("no")).unwrap(), "yes");
    }
}
