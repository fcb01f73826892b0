//! Which addresses a connection may go to. An image's name, a redirect or a realm must not reach what listens only for
//! this machine or its link: cloud metadata, an agent's port, the node's own services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `address` belongs to this machine or its link, also in the forms that embed IPv4 in IPv6.
pub(crate) fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_local_v4(v4),
        IpAddr::V6(v6) => is_local_v6(v6),
    }
}

fn is_local_v4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    // 0.0.0.0/8 is "this host on this network" (RFC 1122 §3.2.1.3); Linux connects 0.0.0.0 to itself.
    first == 0 || address.is_loopback() || address.is_link_local() || address.is_multicast() || address.is_broadcast()
}

fn is_local_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [first, ..] = segments;
    let embedded = match segments {
        // ::/96, IPv4-compatible (RFC 4291 §2.5.5.1), which includes :: and ::1; ::ffff:0:0/96, IPv4-mapped (§2.5.5.2);
        // 64:ff9b::/96, NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        // 2002::/16, 6to4 (RFC 3056 §2).
        | [0x2002, high, low, ..] => Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))),
        _ => None,
    };
    // fd00:ec2::/32 is where a cloud serves instance metadata over IPv6.
    let metadata = segments.starts_with(&[0xfd00, 0x0ec2]);
    embedded.is_some_and(is_local_v4) || first & 0xffc0 == 0xfe80 || address.is_multicast() || metadata
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn loopback_link_local_and_their_disguises_are_local() {
        for text in [
            "127.0.0.1",
            "127.255.0.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
        ] {
            assert!(is_local(text.parse().unwrap()), "{text}");
        }
        for text in [
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "100.64.0.1",
            "1.1.1.1",
            "126.255.255.255",
            "128.0.0.1",
            "2001:db8::1",
            "fd12::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "fec0::1",
        ] {
            assert!(!is_local(text.parse().unwrap()), "{text}");
        }
    }
}
