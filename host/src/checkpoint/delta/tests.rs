#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

use super::*;
use crate::checkpoint::Error;

type Entry = (Vec<u8>, Option<Vec<u8>>);

fn write(entries: &[Entry], block_bytes: usize, manifest: &[u8]) -> Vec<u8> {
    let mut writer = Writer::with_block_bytes("o", Vec::new(), block_bytes);
    entries.iter().for_each(|(key, value)| writer.append(key, value.as_deref()).unwrap());
    let written = writer.finish(manifest).unwrap();
    assert_eq!(written.bytes, written.sink.len() as u64);
    written.sink
}

fn open(bytes: &[u8]) -> Result<Object, Error> {
    Object::open("o", Input::Memory(bytes.to_vec()))
}

fn rest(mut scan: Scan<'_>) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    while scan.advance()? {
        entries.push((scan.key().to_vec(), scan.value().map(<[u8]>::to_vec)));
    }
    assert!(!scan.advance()?, "the end stays the end");
    Ok(entries)
}

/// Entries of operators 1 to 3 with shards 0 to 9, sorted; every seventh a tombstone, some values empty or large.
fn sample() -> Vec<Entry> {
    let mut entries = Vec::new();
    for (operator, shard) in (1..=3u16).flat_map(|operator| (0..10u16).map(move |shard| (operator, shard))) {
        for i in 0..u32::from(operator * shard * 3) {
            let mut key = [operator.to_be_bytes(), shard.to_be_bytes(), [0, 0]].concat();
            key.extend_from_slice(format!("user-{i:05}").as_bytes());
            let value = (i % 7 != 3).then(|| vec![i as u8; [0, 8, 20, 300][i as usize % 4]]);
            entries.push((key, value));
        }
    }
    entries
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound
    }
}

#[test]
fn what_was_written_is_read_at_every_block_size() {
    let entries = sample();
    for block_bytes in [1, 100, 4096, BLOCK_BYTES] {
        let bytes = write(&entries, block_bytes, b"{}");
        let object = open(&bytes).unwrap();
        assert_eq!(rest(object.scan()).unwrap(), entries);
        assert_eq!(object.manifest(), b"{}");
        assert_eq!(object.entries(), entries.len() as u64);
        assert_eq!(object.tombstones(), entries.iter().filter(|(_, value)| value.is_none()).count() as u64);
    }
}

#[test]
fn a_file_reads_like_memory() {
    let entries = sample();
    let bytes = write(&entries, 500, b"");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("o");
    std::fs::write(&path, &bytes).unwrap();
    let object = Object::open("o", Input::File { file: std::fs::File::open(&path).unwrap(), path: path.clone() }).unwrap();
    assert_eq!(rest(object.scan()).unwrap(), entries);
    assert_eq!(object.checksum(), open(&bytes).unwrap().checksum());
    // Cut short behind the reader's back, after the footer was read.
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
    assert!(matches!(rest(object.scan()), Err(Error::Corrupt { .. })));
}

#[test]
fn an_object_without_entries_holds_its_manifest() {
    let object = open(&write(&[], BLOCK_BYTES, b"{\"epoch\":1}")).unwrap();
    assert_eq!((object.entries(), object.manifest()), (0, b"{\"epoch\":1}".as_slice()));
    assert_eq!(rest(object.scan()).unwrap(), []);
}

#[test]
fn entries_out_of_order_are_refused() {
    for keys in [["b", "a"], ["a", "a"], ["ab", "a"]] {
        let mut writer = Writer::new("o", Vec::new());
        writer.append(keys[0].as_bytes(), None).unwrap();
        assert!(matches!(writer.append(keys[1].as_bytes(), None), Err(Error::KeyOrder { entry: 1, .. })), "{keys:?}");
    }
    // Across blocks as well.
    let mut writer = Writer::with_block_bytes("o", Vec::new(), 1);
    writer.append(b"b", None).unwrap();
    assert!(writer.append(b"a", None).is_err());
}

#[test]
fn the_bytes_of_version_1_are_frozen() {
    let entries: Vec<Entry> = vec![
        (b"\0\x01\0\x02\0\0ab".to_vec(), Some(b"xyz".to_vec())),
        (b"\0\x01\0\x02\0\0ac".to_vec(), None),
        (b"\0\x01\0\x03\0\0".to_vec(), Some(vec![])),
    ];
    let bytes = write(&entries, 20, b"{}");
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("golden-1.hex").trim().replace('\n', ""));
    assert_eq!(rest(open(&bytes).unwrap().scan()).unwrap(), entries);
}

#[test]
fn a_newer_version_is_named_whatever_its_trailer_looks_like() {
    let mut bytes = b"blocks of a kind unknown here, and a longer trailer".to_vec();
    let trailer = [7u8; 60];
    let mut end = trailer.to_vec();
    end.extend_from_slice(&60u32.to_le_bytes());
    end.extend_from_slice(&2u32.to_le_bytes());
    end.extend_from_slice(&crc32c::crc32c(&end).to_le_bytes());
    end.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&end);
    assert!(matches!(open(&bytes), Err(Error::NewerFormat { found: 2, known: 1, .. })));
}

/// Reads all of it: content and manifest, or the named error.
fn read_all(bytes: &[u8]) -> Result<(Vec<Entry>, Vec<u8>), Error> {
    let object = open(bytes)?;
    Ok((rest(object.scan())?, object.manifest().to_vec()))
}

#[test]
fn whatever_is_damaged_is_reported_and_never_misread() {
    let entries: Vec<Entry> = sample().into_iter().take(400).collect();
    let bytes = write(&entries, 512, b"{\"format\":1}");
    let mut random = Random(1);
    let mut damage: Vec<Vec<u8>> = Vec::new();
    for _ in 0..6000 {
        let mut damaged = bytes.clone();
        match random.below(4) {
            0 => damaged.truncate(random.below(bytes.len())),
            1 => {
                let at = random.below(bytes.len());
                damaged[at] ^= 1 << random.below(8);
            }
            2 => {
                // The last bytes steer everything else: hit them often.
                let at = bytes.len() - 1 - random.below(200);
                damaged[at] = damaged[at].wrapping_add(1 + random.below(255) as u8);
            }
            _ => {
                let (from, length) = (random.below(bytes.len()), random.below(40));
                let to = (from + length).min(bytes.len());
                damaged.drain(from..to);
            }
        }
        if damaged != bytes {
            damage.push(damaged);
        }
    }
    damage.extend((0..bytes.len()).map(|length| bytes[..length].to_vec()));
    damage.push([bytes.as_slice(), b"\0"].concat());
    damage.push([b"\0", bytes.as_slice()].concat());
    for damaged in damage {
        let error = read_all(&damaged).map(|_| ()).unwrap_err();
        assert!(matches!(&error, Error::Corrupt { object, .. } if object == "o"), "{error}");
    }
    assert_eq!(read_all(&bytes).unwrap().0, entries);
}

/// Damage that carries matching checksums, as a faulty writer would make it: no panic, no endless loop, no huge allocation.
#[test]
fn damage_under_valid_checksums_never_panics() {
    let bytes = write(&sample()[..60], BLOCK_BYTES, b"");
    let block_bytes = {
        let at = bytes.len() - TAIL_BYTES - TRAILER_BYTES;
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
    };
    let (index_at, trailer_at) = (block_bytes, bytes.len() - TAIL_BYTES - TRAILER_BYTES);
    let mut random = Random(9);
    let mut misread = 0;
    for _ in 0..5000 {
        let mut damaged = bytes.clone();
        for _ in 0..1 + random.below(3) {
            let at = random.below(trailer_at + TRAILER_BYTES + 4);
            damaged[at] = random.below(256) as u8;
        }
        let block = crc32c::crc32c(&damaged[..block_bytes]).to_le_bytes();
        damaged[index_at + 8..index_at + 12].copy_from_slice(&block);
        let index = crc32c::crc32c(&damaged[index_at..trailer_at]).to_le_bytes();
        damaged[trailer_at + 48..trailer_at + 52].copy_from_slice(&index);
        let tail = trailer_at + TRAILER_BYTES;
        let checksum = crc32c::crc32c(&damaged[trailer_at..tail + 8]).to_le_bytes();
        damaged[tail + 8..tail + 12].copy_from_slice(&checksum);
        misread += usize::from(read_all(&damaged).is_ok());
    }
    assert!((1..5000).contains(&misread), "bytes of values differ unseen, all else is found: {misread}");
}

/// Prints what a slow core does; the bound is far below, so that a busy machine passes.
#[test]
fn writing_and_reading_keep_up_with_an_epoch() {
    let entries: Vec<[u8; 22]> = (0..500_000u64)
        .map(|i| {
            let mut key = [0; 22];
            key[..6].copy_from_slice(&[0, 1, (i >> 40) as u8, (i / 16_000) as u8, 0, 0]);
            key[6..14].copy_from_slice(b"customer");
            key[14..].copy_from_slice(&(i * 7919).to_be_bytes());
            key
        })
        .collect();
    let start = std::time::Instant::now();
    let mut writer = Writer::new("o", Vec::with_capacity(32 << 20));
    for key in &entries {
        writer.append(key, Some(&key[10..])).unwrap();
    }
    let written = writer.finish(b"").unwrap();
    let wrote = entries.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
    let object = Object::open("o", Input::Memory(written.sink)).unwrap();
    let start = std::time::Instant::now();
    let mut scan = object.scan();
    let mut count = 0;
    while scan.advance().unwrap() {
        count += 1;
    }
    let read = f64::from(count) / start.elapsed().as_secs_f64() / 1e6;
    println!("wrote {wrote:.1} M entries/s, read {read:.1} M entries/s, {} bytes", object.bytes());
    assert_eq!(count as usize, entries.len());
    assert!(wrote > 0.5 && read > 0.5, "wrote {wrote:.2}, read {read:.2} M entries/s");
}
