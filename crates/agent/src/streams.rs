//! Two streams at once: while one waits for an answer, or was cut off, the other uses the link.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::host::Host;
use crate::obtain::{Halt, Run, here, obtain};

const STREAMS: usize = 2;
/// Less than this, per stream, is not worth another one: a request and its answer.
const WORTH: u64 = 64 * 1024;

/// Who is told what comes, from whichever stream.
pub type Meter<'m> = dyn FnMut(u64) -> Result<(), Halt> + Send + 'm;

/// Brings all runs. One that fails ends the others where they are done with what they have begun.
pub fn obtain_all(
    host: &Host,
    folder: &Path,
    runs: Vec<Run>,
    meter: &mut Meter<'_>,
) -> Result<(), Halt> {
    let to_come = |run: &Run| run.end() - run.offset - here(folder, &run.pieces[0]);
    if runs.iter().map(to_come).sum::<u64>() < STREAMS as u64 * WORTH {
        return runs.iter().try_for_each(|run| obtain(host, folder, run, meter));
    }
    let runs = shared_out(runs);
    let (next, meter) = (Mutex::new(runs.iter()), Mutex::new(meter));
    let halted = Mutex::new(None);
    // A guard in the condition of the loop would be held while its body runs.
    let take = || if lock(&halted).is_none() { lock(&next).next() } else { None };
    let stream = || {
        while let Some(run) = take() {
            if let Err(halt) = obtain(host, folder, run, &mut |bytes| lock(&meter)(bytes)) {
                lock(&halted).get_or_insert(halt);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..STREAMS {
            scope.spawn(stream);
        }
    });
    halted.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// A single run is cut in two between its pieces, so that both streams have work.
fn shared_out(mut runs: Vec<Run>) -> Vec<Run> {
    if let [run] = runs.as_mut_slice()
        && run.pieces.len() > 1
    {
        let (half, mut sum) = ((run.end() - run.offset) / 2, 0);
        let within = |size: &u64| {
            sum += size;
            sum <= half
        };
        let cut = run.pieces.iter().map(|p| p.size).take_while(within).count();
        let pieces = run.pieces.split_off(cut.max(1));
        let second = Run { offset: run.end(), pieces, ..run.clone() };
        runs.push(second);
    }
    runs
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use afield_core::ids::ObjectId;
    use afield_core::release::ObjectRef;

    use super::*;

    #[test]
    fn one_run_is_cut_between_its_pieces_and_nothing_is_lost() {
        let cut = |sizes: &[u64]| -> Vec<(u64, Vec<u64>)> {
            let piece =
                |size: &u64| ObjectRef { id: ObjectId::of(&size.to_le_bytes()), size: *size };
            let pieces = sizes.iter().map(piece).collect();
            let run = Run { name: "objects/pack".into(), size: 1000, offset: 100, pieces };
            let sizes = |run: &Run| run.pieces.iter().map(|p| p.size).collect();
            shared_out(vec![run]).iter().map(|run| (run.offset, sizes(run))).collect()
        };
        assert_eq!(cut(&[10, 20, 30]), [(100, vec![10, 20]), (130, vec![30])]);
        assert_eq!(cut(&[50, 20]), [(100, vec![50]), (150, vec![20])]);
        assert_eq!(cut(&[10, 60]), [(100, vec![10]), (110, vec![60])]);
        assert_eq!(cut(&[70]), [(100, vec![70])]);
    }
}
