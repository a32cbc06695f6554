//! Stored bytes outlive the program: encodings of states and map keys are pinned.
#![allow(clippy::unwrap_used)]

use serde::{Deserialize, Serialize};
use weir_sdk::{Codec, MapKey, OrderedBytes, Postcard, Raw};

fn encoded<C: Codec<T>, T>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    C::encode(value, &mut bytes).unwrap();
    bytes
}

fn key(key: &(impl OrderedBytes + ?Sized)) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.append(&mut bytes);
    bytes
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Profile {
    visits: u64,
    name: Option<String>,
}

#[test]
fn serde_types_have_postcards_bytes() {
    let profile = Profile { visits: 300, name: Some("é".to_owned()) };
    let bytes = encoded::<Postcard, _>(&profile);
    assert_eq!(bytes, [0xac, 0x02, 1, 2, 0xc3, 0xa9]);
    assert_eq!(<Postcard as Codec<Profile>>::decode(&bytes).unwrap(), profile);
    assert!(<Postcard as Codec<Profile>>::decode(&[0xac]).is_err());
}

#[test]
fn raw_numbers_are_little_endian_and_text_is_itself() {
    assert_eq!(encoded::<Raw, u64>(&258), [2, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(encoded::<Raw, i64>(&-1), [0xff; 8]);
    assert_eq!(encoded::<Raw, f64>(&1.0), [0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    assert_eq!(encoded::<Raw, String>(&"é".to_owned()), [0xc3, 0xa9]);
    assert_eq!(encoded::<Raw, Vec<u8>>(&vec![0, 1]), [0, 1]);
    assert!(<Raw as Codec<u64>>::decode(&[1]).is_err());
}

#[test]
fn bytes_of_map_keys_sort_as_the_keys_do() {
    let numbers = [i64::MIN, -300, -1, 0, 1, 255, 256, i64::MAX];
    assert!(numbers.map(|number| key(&number)).is_sorted());
    assert!(numbers.iter().all(|number| i64::decode(&key(number)).unwrap() == *number));
    assert_eq!(key(&-1i64), [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(key(&258u32), [0, 0, 1, 2]);
    assert_eq!(key("é"), "é".as_bytes());
    assert!(u32::decode(&[1]).is_err());
}
