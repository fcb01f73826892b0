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

/// Whether `address` is one of the public network: none of this machine, its link, or a network of its owner's (RFC 6890).
pub(crate) fn is_public(address: IpAddr) -> bool {
    !is_local(address)
        && match address {
            IpAddr::V4(v4) => !is_private_v4(v4),
            IpAddr::V6(v6) => {
                let [first, second, ..] = v6.segments();
                // fc00::/7 and the former fec0::/10 are a site's own; 2001::/23 and 100::/64 lead nowhere or through relays.
                let is_site = first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0;
                let is_special = first == 0x100 || first == 0x2001 && second < 0x200;
                !is_site && !is_special && !embedded_v4(v6).is_some_and(is_private_v4)
            }
        }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    address.is_private()
        // 100.64.0.0/10, shared by a provider's customers; 192.0.0.0/24; 198.18.0.0/15; 240.0.0.0/4.
        || first == 100 && second & 0xc0 == 64
        || first == 192 && second == 0 && third == 0
        || first == 198 && second & 0xfe == 18
        || first >= 240
}

fn is_local_v4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    // 0.0.0.0/8 is "this host on this network" (RFC 1122 §3.2.1.3); Linux connects 0.0.0.0 to itself.
    first == 0 || address.is_loopback() || address.is_link_local() || address.is_multicast() || address.is_broadcast()
}

fn is_local_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [first, ..] = segments;
    // fd00:ec2::/32 is where a cloud serves instance metadata over IPv6.
    let metadata = segments.starts_with(&[0xfd00, 0x0ec2]);
    embedded_v4(address).is_some_and(is_local_v4) || first & 0xffc0 == 0xfe80 || address.is_multicast() || metadata
}

/// The IPv4 address that an IPv6 address stands for.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        // ::/96, IPv4-compatible (RFC 4291 §2.5.5.1), which includes :: and ::1; ::ffff:0:0/96, IPv4-mapped (§2.5.5.2);
        // 64:ff9b::/96, NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        // 2002::/16, 6to4 (RFC 3056 §2).
        | [0x2002, high, low, ..] => Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))),
        _ => None,
    }
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

    #[test]
    fn a_sites_own_addresses_and_their_disguises_are_not_public() {
        for text in [
            "127.0.0.1",
            "169.254.169.254",
            "10.0.0.1",
            "192.168.1.1",
            "172.31.255.255",
            "100.64.0.1",
            "192.0.0.8",
            "198.19.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "fe80::1",
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001::1",
            "100::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["1.1.1.1", "100.128.0.1", "172.32.0.1", "198.20.0.1", "2001:db8::1", "2a00::1", "64:ff9b::101:101"]
        {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }
}
