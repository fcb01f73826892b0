//! containerd's backend keys, `NAMESPACE/SEQUENCE/REST`, and the layer chain that one may name.
//! Text comes in, borrowed parts go out; what has another shape is no key of containerd's.

use assay_admission::{Digest, Namespace};

/// The parts of a backend key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key<'a> {
    /// The namespace. GC calls and some builds send no namespace header, so this is the only reliable source.
    pub(crate) namespace: Namespace,
    rest: &'a str,
}

impl<'a> Key<'a> {
    /// Splits a key; `None` if it is not of containerd's making.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (namespace, text) = text.split_once('/')?;
        let (sequence, rest) = text.split_once('/')?;
        let is_number = !sequence.is_empty() && sequence.bytes().all(|byte| byte.is_ascii_digit());
        let namespace = namespace.parse().ok()?;
        (is_number && !rest.is_empty()).then_some(Self { namespace, rest })
    }

    /// The chain whose snapshot this is, if the whole name is a digest: committed layers are named so.
    pub(crate) fn chain(&self) -> Option<Digest> {
        self.rest.parse().ok()
    }

    /// The chain for which a key is prepared: `extract-UNIQUE CHAIN`, or any key that ends with a chain.
    pub(crate) fn target(&self) -> Option<Digest> {
        self.rest.rsplit(' ').next()?.parse().ok()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_extraction_names_its_chain_and_a_container_does_not() {
        let chain = Digest::sha256(b"x");
        let text = format!("k8s.io/12/extract-443-abc {chain}");
        let key = Key::parse(&text).unwrap();
        assert_eq!((key.namespace.as_str(), key.target(), key.chain()), ("k8s.io", Some(chain), None));
        assert_eq!(Key::parse("k8s.io/13/web-1").unwrap().target(), None);
        let text = format!("moby/2/{chain}");
        assert_eq!(Key::parse(&text).unwrap().chain(), Some(chain));
        let remapped = format!("moby/2/{chain}-0-1000");
        assert_eq!(Key::parse(&remapped).unwrap().chain(), None);
    }

    #[test]
    fn a_key_of_another_shape_is_none_of_containerds() {
        for bad in ["", "a", "a/b", "a/1/", "a/x/y", "a//y", "/1/y", "../1/y"] {
            assert_eq!(Key::parse(bad), None, "{bad}");
        }
        assert_eq!(Key::parse("default/3/host/path/of/a/mount").unwrap().rest, "host/path/of/a/mount");
    }
}
