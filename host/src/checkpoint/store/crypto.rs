//! What signing requests to S3 needs, by the OpenSSL that Kafka's client links as well: a second library for the same
//! would double what a cold build compiles for it.

use object_store::client::{CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm};
use object_store::{Error, Result};
use openssl::hash::{Hasher, MessageDigest};
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer as Mac;

#[derive(Debug)]
pub(super) struct OpenSsl;

impl CryptoProvider for OpenSsl {
    fn digest(&self, algorithm: DigestAlgorithm) -> Result<Box<dyn DigestContext>> {
        Ok(Box::new(Digest { hasher: Hasher::new(of(algorithm)?).map_err(failed)?, done: Vec::new() }))
    }

    fn hmac(&self, algorithm: DigestAlgorithm, secret: &[u8]) -> Result<Box<dyn HmacContext>> {
        let key = PKey::hmac(secret).map_err(failed)?;
        Ok(Box::new(Hmac { key, algorithm: of(algorithm)?, message: Vec::new(), done: Vec::new() }))
    }

    fn sign(&self, _: SigningAlgorithm, _: &[u8]) -> Result<Box<dyn Signer>> {
        Err(Error::NotSupported { source: "S3 needs no signatures by private keys".into() })
    }
}

fn of(algorithm: DigestAlgorithm) -> Result<MessageDigest> {
    match algorithm {
        DigestAlgorithm::Sha256 => Ok(MessageDigest::sha256()),
        other => Err(Error::NotSupported { source: format!("S3 needs no digest of kind {other:?}").into() }),
    }
}

fn failed(error: openssl::error::ErrorStack) -> Error {
    Error::Generic { store: "S3", source: Box::new(error) }
}

struct Digest {
    hasher: Hasher,
    done: Vec<u8>,
}

impl DigestContext for Digest {
    fn update(&mut self, data: &[u8]) {
        // OpenSSL fails here only where it cannot get memory.
        let _ = self.hasher.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.done = self.hasher.finish().map_err(failed)?.to_vec();
        Ok(&self.done)
    }
}

/// The messages are a few hundred bytes: requests' heads.
struct Hmac {
    key: PKey<Private>,
    algorithm: MessageDigest,
    message: Vec<u8>,
    done: Vec<u8>,
}

impl HmacContext for Hmac {
    fn update(&mut self, data: &[u8]) {
        self.message.extend_from_slice(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        let mut mac = Mac::new(self.algorithm, &self.key).map_err(failed)?;
        self.done = mac.sign_oneshot_to_vec(&self.message).map_err(failed)?;
        Ok(&self.done)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fmt::Write;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    #[test]
    fn digest_and_mac_are_those_of_the_standards() {
        let mut digest = OpenSsl.digest(DigestAlgorithm::Sha256).unwrap();
        digest.update(b"a");
        digest.update(b"bc");
        assert_eq!(hex(digest.finish().unwrap()), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        // RFC 4231, test case 2.
        let mut mac = OpenSsl.hmac(DigestAlgorithm::Sha256, b"Jefe").unwrap();
        mac.update(b"what do ya want ");
        mac.update(b"for nothing?");
        assert_eq!(hex(mac.finish().unwrap()), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
