//! What kind of place an address is, told from its number alone: nothing here looks a name up or sends anything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of place an address is. Components reach [`AddressClass::Public`] ones; the others only by a grant that names
/// the address, or names its host as local, and some not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressClass {
    /// Anywhere on the internet.
    Public,
    /// This machine.
    Loopback,
    /// A network of one's own: 10/8, 172.16/12, 192.168/16, carrier-grade NAT 100.64/10, fc00::/7, fec0::/10.
    Private,
    /// The link, where machines offer credentials to who asks: 169.254/16, fe80::/10, and the metadata services by name.
    LinkLocal,
    /// No place: 0/8 and `::`.
    Unspecified,
    /// Many places.
    Multicast,
    /// An IPv6 address that carries an IPv4 one (mapped, compatible, NAT64, 6to4, Teredo), and so leads somewhere else than
    /// it says.
    Embedded,
    /// Reserved, for documentation, benchmarks or the future.
    Reserved,
}

impl AddressClass {
    /// The class of an address.
    pub fn of(address: IpAddr) -> AddressClass {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }

    /// Whether a grant can open an address of this class that it names, at all.
    pub fn can_be_named(self) -> bool {
        !matches!(self, AddressClass::Unspecified | AddressClass::Multicast | AddressClass::Embedded)
    }

    /// Whether a grant with `local: true` opens addresses of this class.
    pub fn is_local(self) -> bool {
        matches!(self, AddressClass::Loopback | AddressClass::Private)
    }

    /// In a sentence: "it is ...".
    pub fn as_str(self) -> &'static str {
        match self {
            AddressClass::Public => "a public address",
            AddressClass::Loopback => "a loopback address",
            AddressClass::Private => "a private address",
            AddressClass::LinkLocal => "a link-local or metadata address",
            AddressClass::Unspecified => "an unspecified address",
            AddressClass::Multicast => "a multicast address",
            AddressClass::Embedded => "an IPv6 address that carries an IPv4 one",
            AddressClass::Reserved => "a reserved address",
        }
    }
}

fn of_v4(address: Ipv4Addr) -> AddressClass {
    match address.octets() {
        [0, ..] => AddressClass::Unspecified,
        [127, ..] => AddressClass::Loopback,
        [10, ..] | [192, 168, ..] => AddressClass::Private,
        [172, b, ..] if (16..32).contains(&b) => AddressClass::Private,
        // The metadata services of Alibaba, Oracle and Azure lie inside ranges of another class.
        [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => AddressClass::LinkLocal,
        [100, b, ..] if (64..128).contains(&b) => AddressClass::Private,
        [169, 254, ..] => AddressClass::LinkLocal,
        [a, ..] if (224..240).contains(&a) => AddressClass::Multicast,
        [192, 0, 0, _] | [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] => {
            AddressClass::Reserved
        }
        [198, b, ..] if b == 18 || b == 19 => AddressClass::Reserved,
        [a, ..] if a >= 240 => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> AddressClass {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressClass::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressClass::Loopback,
        // Mapped, translated, compatible; NAT64, well-known and local-use; 6to4; Teredo; ISATAP.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0, 0, 0, 0, 0, 0, ..] => AddressClass::Embedded,
        [0x64, 0xff9b, ..] | [0x2002, ..] | [0x2001, 0, ..] => AddressClass::Embedded,
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => AddressClass::Embedded,
        // The metadata services of Amazon and Google have addresses of their own among the private ones.
        [0xfd00, 0xec2, ..] | [0xfd20, 0xce, ..] => AddressClass::LinkLocal,
        [a, ..] if a & 0xfe00 == 0xfc00 => AddressClass::Private,
        [a, ..] if a & 0xffc0 == 0xfe80 => AddressClass::LinkLocal,
        [a, ..] if a & 0xffc0 == 0xfec0 => AddressClass::Private,
        [a, ..] if a & 0xff00 == 0xff00 => AddressClass::Multicast,
        [0x2001, 0xdb8, ..] | [0x3fff, ..] | [0x5f00, ..] | [0x100, 0, 0, 0, ..] => AddressClass::Reserved,
        [0x2001, b, ..] if b < 0x200 => AddressClass::Reserved,
        // Only 2000::/3 is given out.
        [a, ..] if a & 0xe000 == 0x2000 => AddressClass::Public,
        _ => AddressClass::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> AddressClass {
        AddressClass::of(text.parse().unwrap())
    }

    #[test]
    fn every_way_back_into_the_machine_or_its_networks_is_told_from_the_internet() {
        for (class_of, addresses) in [
            (AddressClass::Public, &["1.1.1.1", "100.128.0.1", "172.32.0.1", "198.20.0.1", "2606:4700::1111"][..]),
            (AddressClass::Loopback, &["127.0.0.1", "127.255.0.9", "::1"]),
            (
                AddressClass::Private,
                &[
                    "10.0.0.1",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "100.64.0.1",
                    "fc00::1",
                    "fd12::1",
                    "fec0::1",
                ],
            ),
            (
                AddressClass::LinkLocal,
                &[
                    "169.254.169.254",
                    "169.254.0.1",
                    "fe80::1",
                    "fd00:ec2::254",
                    "fd00:ec2::23",
                    "fd20:ce::254",
                    "100.100.100.200",
                    "192.0.0.192",
                    "168.63.129.16",
                ],
            ),
            (AddressClass::Unspecified, &["0.0.0.0", "0.1.2.3", "::"]),
            (AddressClass::Multicast, &["224.0.0.1", "239.255.255.255", "ff02::1"]),
            (
                AddressClass::Embedded,
                &[
                    "::ffff:10.0.0.1",
                    "::ffff:1.1.1.1",
                    "::ffff:0:1.1.1.1",
                    "::127.0.0.1",
                    "64:ff9b::7f00:1",
                    "64:ff9b:1::a00:1",
                    "2002:7f00:1::",
                    "2001:0:7f00:1::",
                    "2001:db8::5efe:7f00:1",
                ],
            ),
            (
                AddressClass::Reserved,
                &["192.0.2.1", "198.18.0.1", "203.0.113.9", "240.0.0.1", "255.255.255.255", "2001:db8::1", "4000::1"],
            ),
        ] {
            for address in addresses {
                assert_eq!(class(address), class_of, "{address}");
            }
        }
    }
}
