//! Several things at the same time: most of the time of a question to the Hub is waiting.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::problem::{Error, Problems};

/// Does something with each of a list, so many at the same time; answers in their order.
pub(super) fn at_once<T: Sync, R: Send>(list: &[T], most: usize, each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let take = || {
            let position = next.fetch_add(1, Ordering::Relaxed);
            Some((position, list.get(position)?))
        };
        std::iter::from_fn(take).map(|(position, item)| (position, each(item))).collect::<Vec<_>>()
    };
    let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..list.len().min(most.max(1))).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Vec<_>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().flat_map(join).collect()
    });
    done.sort_by_key(|(position, _)| *position);
    done.into_iter().map(|(_, result)| result).collect()
}

/// All results, or everything that the user can mend; without that, the first that the machine did.
pub(super) fn all_of<T>(results: Vec<Result<T, Error>>) -> Result<Vec<T>, Error> {
    let (mut done, mut problems, mut machine) = (Vec::new(), Problems::new(), None);
    for result in results {
        match result {
            Ok(result) => done.push(result),
            Err(Error::Input(found)) => problems.extend(found),
            Err(error @ Error::Exec(_)) => machine = machine.or(Some(error)),
        }
    }
    match machine {
        _ if problems.has_errors() => Err(problems.into()),
        Some(error) => Err(error),
        None => Ok(done),
    }
}

/// The results without what the user can mend, or the first that the machine did.
pub(super) fn machines<T>(results: Vec<Result<T, Error>>) -> Result<Vec<T>, Error> {
    results.into_iter().filter(|result| !matches!(result, Err(Error::Input(_)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{ExecError, Problem};

    #[test]
    fn answers_come_in_order_and_all_problems_together() {
        let list: Vec<u64> = (0..100).collect();
        assert!(at_once(&list, 7, |x| x * 2).into_iter().eq(list.iter().map(|x| x * 2)));
        assert!(at_once(&list[..0], 7, |x| *x).is_empty());
        let each = |x: &u64| match x % 3 {
            0 => Ok(*x),
            1 => Err(Error::from(Problem::error(x.to_string(), "wrong"))),
            _ => Err(Error::from(ExecError::Interrupted)),
        };
        let told = all_of(at_once(&list[..6], 3, each)).unwrap_err();
        assert_eq!(told.to_string(), "error: 1: wrong\nerror: 4: wrong");
        assert_eq!(all_of(vec![each(&3), each(&2)]).unwrap_err().exit_code(), 130);
        assert_eq!(all_of(vec![each(&3), each(&0)]).unwrap(), [3, 0]);
        assert_eq!(machines(vec![each(&3), each(&1)]).unwrap(), [3]);
        assert!(machines(vec![each(&1), each(&2)]).is_err());
    }
}
