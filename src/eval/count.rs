//! Token counts of a language, from texts of any size in constant memory.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::text::{Documents, Reading};
use super::tokenizer::Tokenizer;
use crate::coefficients::Counts;
use crate::execute::Observer;
use crate::problem::{Problem, Problems};

/// Bytes of text that a worker takes at a time: enough to make waiting for the next one nothing.
const BATCH: usize = 1 << 18;
/// Problems of a text that are told before reading stops.
const TOLD: usize = 5;

/// A language and the files that its text is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// The user's name for the language.
    pub language: String,
    /// Its text, in any order.
    pub files: Vec<PathBuf>,
}

/// What one worker has counted.
#[derive(Default)]
struct Tally {
    counts: Vec<u64>,
    bytes: u64,
    documents: u64,
}

/// Counts the tokens of a language, each document by itself and without a start token. One thread reads, `threads` encode; the
/// observer is told how many bytes of the files, as they are on disk, were read.
///
/// # Errors
/// What is wrong with the texts, or a token beyond the vocabulary.
pub fn count(
    tokenizer: &Tokenizer,
    corpus: &Corpus,
    reading: &Reading,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Counts, Problems> {
    let vocabulary = tokenizer.ids_end();
    let (send, receive) = sync_channel::<Vec<String>>(2 * threads.max(1));
    let stop = AtomicBool::new(false);
    let (read, counted) = std::thread::scope(|scope| {
        // The workers own the receiving end: when none is left, the reader's sending fails and it does not wait for ever.
        let receive = Arc::new(Mutex::new(receive));
        let worker = || {
            let (receive, stop) = (receive.clone(), &stop);
            scope.spawn(move || encode(tokenizer, vocabulary, &receive, stop))
        };
        let workers: Vec<_> = (0..threads.max(1)).map(|_| worker()).collect();
        drop(receive);
        let read = read(corpus, reading, send, &stop, observer);
        let counted: Vec<Result<Tally, Problems>> = workers
            .into_iter()
            .map(|w| w.join().unwrap_or_else(|_| Err(Problem::error("", "a thread panicked").into())))
            .collect();
        (read, counted)
    });
    read?;
    let mut all = Tally { counts: vec![0; vocabulary], ..Tally::default() };
    for tally in counted {
        let tally = tally?;
        all.counts.iter_mut().zip(tally.counts).for_each(|(sum, n)| *sum += n);
        all.bytes += tally.bytes;
        all.documents += tally.documents;
    }
    if all.counts.iter().all(|n| *n == 0) {
        let files: Vec<String> = corpus.files.iter().map(|f| f.display().to_string()).collect();
        return Err(Problem::error(files.join(", "), "there is no text to count").into());
    }
    Ok(Counts {
        language: corpus.language.clone(),
        tokenizer: tokenizer.sha256().to_owned(),
        bytes: all.bytes,
        documents: all.documents,
        counts: all.counts,
        ..Counts::default()
    })
}

/// Reads all files and hands out batches of documents.
fn read(
    corpus: &Corpus,
    reading: &Reading,
    send: SyncSender<Vec<String>>,
    stop: &AtomicBool,
    observer: &dyn Observer,
) -> Result<(), Problems> {
    let mut problems = Problems::new();
    for file in &corpus.files {
        let mut documents = match Documents::open(file, reading) {
            Ok(documents) => documents,
            Err(found) => {
                problems.extend(found);
                continue;
            }
        };
        let (mut batch, mut size, mut told) = (Vec::new(), 0, 0);
        loop {
            let document = documents.next();
            let is_last = document.is_none();
            match document {
                Some(Ok(document)) => {
                    size += document.len();
                    batch.push(document);
                }
                Some(Err(found)) => problems.extend(found),
                None => {}
            }
            if size >= BATCH || is_last {
                let read = documents.bytes_read();
                observer.advance(read - told);
                told = read;
                size = 0;
                // Nobody takes it any more where a worker has failed; that is then told.
                let taken = send.send(std::mem::take(&mut batch)).is_ok();
                if is_last || !taken || stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            if problems.iter().count() >= TOLD {
                break;
            }
        }
        if problems.iter().count() >= TOLD || stop.load(Ordering::Relaxed) {
            break;
        }
    }
    if problems.has_errors() { Err(problems) } else { Ok(()) }
}

/// Encodes batches until there are no more.
fn encode(
    tokenizer: &Tokenizer,
    vocabulary: usize,
    batches: &Mutex<Receiver<Vec<String>>>,
    stop: &AtomicBool,
) -> Result<Tally, Problems> {
    let mut tally = Tally { counts: vec![0; vocabulary], ..Tally::default() };
    loop {
        let batch = batches.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(batch) = batch else { return Ok(tally) };
        // Another worker has failed: what is left is taken and thrown away.
        if stop.load(Ordering::Relaxed) {
            continue;
        }
        for document in &batch {
            let counted = tokenizer.each_id(document, |id| {
                tally.counts.get_mut(id as usize).into_iter().for_each(|count| *count += 1);
            });
            if let Err(found) = counted {
                stop.store(true, Ordering::Relaxed);
                return Err(found);
            }
            tally.bytes += document.len() as u64;
        }
        tally.documents += batch.len() as u64;
    }
}
