//! How state values and map keys become bytes. Stored bytes outlive the program: an encoding changes only together
//! with the version that the state is declared with.

use crate::error::{Error, Result};
use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};

/// Encodes the values of a state.
pub trait Codec<T> {
    /// Appends `value` to `out`.
    ///
    /// # Errors
    /// When the value has no encoding; the record is rejected.
    fn encode(value: &T, out: &mut Vec<u8>) -> Result;

    /// The value in `bytes`, which are all that `encode` appended.
    ///
    /// # Errors
    /// When the bytes are no such value.
    fn decode(bytes: &[u8]) -> Result<T>;
}

/// Any serde type, in the compact binary format of the crate postcard: integers as varints, no field names.
#[derive(Debug)]
pub enum Postcard {}

impl<T: Serialize + DeserializeOwned> Codec<T> for Postcard {
    fn encode(value: &T, out: &mut Vec<u8>) -> Result {
        Ok(postcard::serialize_with_flavor(value, Append(out))?)
    }

    fn decode(bytes: &[u8]) -> Result<T> {
        Ok(postcard::from_bytes(bytes)?)
    }
}

struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Bytes that functions in other languages read as easily: numbers as fixed little-endian bytes, text and bytes as
/// they are.
#[derive(Debug)]
pub enum Raw {}

macro_rules! raw_number {
    ($($number:ty),*) => {$(
        impl Codec<$number> for Raw {
            fn encode(value: &$number, out: &mut Vec<u8>) -> Result {
                out.extend_from_slice(&value.to_le_bytes());
                Ok(())
            }

            fn decode(bytes: &[u8]) -> Result<$number> {
                Ok(<$number>::from_le_bytes(bytes.try_into()?))
            }
        }
    )*};
}
raw_number!(u32, u64, i32, i64, f64);

impl Codec<String> for Raw {
    fn encode(value: &String, out: &mut Vec<u8>) -> Result {
        out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<String> {
        Ok(std::str::from_utf8(bytes)?.to_owned())
    }
}

impl Codec<Vec<u8>> for Raw {
    fn encode(value: &Vec<u8>, out: &mut Vec<u8>) -> Result {
        out.extend_from_slice(value);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Vec<u8>> {
        Ok(bytes.to_vec())
    }
}

/// What can stand for a map key: bytes that sort as the values do.
pub trait OrderedBytes {
    /// Appends the key to `out`.
    fn append(&self, out: &mut Vec<u8>);
}

/// The key type of a map state.
pub trait MapKey: OrderedBytes + Sized {
    /// The key in `bytes`, which are all that `append` appended.
    ///
    /// # Errors
    /// When the bytes are no such key.
    fn decode(bytes: &[u8]) -> Result<Self>;
}

macro_rules! plain_bytes {
    ($($text:ty),*) => {$(
        impl OrderedBytes for $text {
            fn append(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_ref());
            }
        }
    )*};
}
plain_bytes!(str, String, [u8], Vec<u8>);

impl MapKey for String {
    fn decode(bytes: &[u8]) -> Result<Self> {
        <Raw as Codec<Self>>::decode(bytes)
    }
}

impl MapKey for Vec<u8> {
    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(bytes.to_vec())
    }
}

/// Big-endian, for signed numbers with the sign bit flipped: the order of the bytes is the order of the numbers.
macro_rules! ordered_number {
    ($($number:ty: $flip:expr),*) => {$(
        impl OrderedBytes for $number {
            fn append(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&(self ^ $flip).to_be_bytes());
            }
        }

        impl MapKey for $number {
            fn decode(bytes: &[u8]) -> Result<Self> {
                let bytes = bytes.try_into().map_err(|_| Error::reject("a map key has the wrong length"))?;
                Ok(<$number>::from_be_bytes(bytes) ^ $flip)
            }
        }
    )*};
}
ordered_number!(u32: 0, u64: 0, i32: i32::MIN, i64: i64::MIN);
