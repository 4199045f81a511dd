//! Where every byte of the output goes: shards, headers and offsets, known before the first is written.

use serde_json::{Map, Value, json};

use super::Job;

/// One output file.
#[derive(Debug)]
pub struct Shard {
    /// `model.safetensors`, or `model-00001-of-00003.safetensors`.
    pub file: String,
    /// Length prefix and JSON, padded to 8 bytes.
    pub header: Vec<u8>,
    /// Bytes of the whole file.
    pub len: u64,
    /// The jobs whose tensors it holds, in file order.
    pub jobs: Vec<usize>,
}

/// Where one job's tensor lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Position in [`Layout::shards`].
    pub shard: usize,
    /// Absolute offset of the tensor's first byte in that file.
    pub offset: u64,
}

/// All output files.
#[derive(Debug)]
pub struct Layout {
    /// In the order of their names.
    pub shards: Vec<Shard>,
    /// One for each job.
    pub places: Vec<Place>,
}

impl Layout {
    /// Tensors in ascending order of name; a shard is closed when the next tensor would take it over
    /// `shard_size` bytes.
    pub(super) fn new(jobs: &[Job], shard_size: u64) -> Self {
        let mut groups: Vec<Vec<usize>> = vec![Vec::new()];
        let mut size = 0;
        for (i, job) in jobs.iter().enumerate() {
            if size > 0 && size + job.bytes() > shard_size {
                groups.push(Vec::new());
                size = 0;
            }
            size += job.bytes();
            if let Some(group) = groups.last_mut() {
                group.push(i);
            }
        }
        let mut places = vec![Place { shard: 0, offset: 0 }; jobs.len()];
        let count = groups.len();
        let shards = groups.into_iter().enumerate().map(|(shard, mut group)| {
            // Wide elements first, so that every tensor is aligned to its element size.
            group.sort_by_key(|i| std::cmp::Reverse(jobs[*i].dtype.size()));
            let (header, len) = header(jobs, &group, |job, offset| places[job] = Place { shard, offset });
            let file = match count {
                1 => "model.safetensors".to_owned(),
                _ => format!("model-{:05}-of-{count:05}.safetensors", shard + 1),
            };
            Shard { file, header, len, jobs: group }
        });
        let shards = shards.collect();
        Self { shards, places }
    }

    /// The index that goes with more than one shard.
    pub fn index(&self, jobs: &[Job]) -> Option<Value> {
        if self.shards.len() < 2 {
            return None;
        }
        let total: u64 = jobs.iter().map(Job::bytes).sum();
        let map: Map<String, Value> = jobs
            .iter()
            .zip(&self.places)
            .map(|(job, place)| (job.name.clone(), json!(self.shards[place.shard].file)))
            .collect();
        Some(json!({ "metadata": { "total_size": total }, "weight_map": map }))
    }
}

/// Builds a file's header and tells each job's absolute offset; returns the file's length too.
fn header(jobs: &[Job], group: &[usize], mut place: impl FnMut(usize, u64)) -> (Vec<u8>, u64) {
    let mut map = Map::new();
    map.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut at = 0;
    for job in group.iter().map(|i| &jobs[*i]) {
        let end = at + job.bytes();
        map.insert(
            job.name.clone(),
            json!({ "dtype": job.dtype.name(), "shape": job.shape, "data_offsets": [at, end] }),
        );
        at = end;
    }
    let mut text = Value::Object(map).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.append(&mut text);
    let mut offset = header.len() as u64;
    for i in group {
        place(*i, offset);
        offset += jobs[*i].bytes();
    }
    (header, offset)
}
