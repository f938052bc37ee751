//! No spelling of an address hides where a request goes: each is refused, or is the one spelling that is classified by its
//! true address, and an address that carries another one is never public.
//!
//! Bytes that begin with `~` choose an address and how it is spelled; any other bytes are the authority of a URL.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use redress::types::{AddressClass, UrlParts};

use super::Bytes;

/// See the module.
pub fn run(data: &[u8]) {
    if let Some((b'~', rest)) = data.split_first() {
        let mut bytes = Bytes(rest);
        let four = Ipv4Addr::from(std::array::from_fn(|_| bytes.byte()));
        let six = Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|_| bytes.byte()));
        check_v4(four, &mut bytes);
        check_v6(six, &mut bytes);
        return;
    }
    let Ok(authority) = std::str::from_utf8(data) else { return };
    check_text(authority);
}

/// The ranges that are not the public internet, each with what it is; the first that holds an address counts. From the
/// registries of special-purpose addresses, the known metadata services, and the forms that carry IPv4.
const RANGES: &[(&str, u8, AddressClass)] = &[
    ("100.100.100.200", 32, AddressClass::LinkLocal),
    ("192.0.0.192", 32, AddressClass::LinkLocal),
    ("0.0.0.0", 8, AddressClass::Unspecified),
    ("10.0.0.0", 8, AddressClass::Private),
    ("100.64.0.0", 10, AddressClass::Private),
    ("127.0.0.0", 8, AddressClass::Loopback),
    ("169.254.0.0", 16, AddressClass::LinkLocal),
    ("172.16.0.0", 12, AddressClass::Private),
    ("192.0.0.0", 24, AddressClass::Reserved),
    ("192.0.2.0", 24, AddressClass::Reserved),
    ("192.88.99.0", 24, AddressClass::Reserved),
    ("192.168.0.0", 16, AddressClass::Private),
    ("198.18.0.0", 15, AddressClass::Reserved),
    ("198.51.100.0", 24, AddressClass::Reserved),
    ("203.0.113.0", 24, AddressClass::Reserved),
    ("224.0.0.0", 4, AddressClass::Multicast),
    ("240.0.0.0", 4, AddressClass::Reserved),
    ("::", 128, AddressClass::Unspecified),
    ("::1", 128, AddressClass::Loopback),
    ("::", 96, AddressClass::Embedded),
    ("::ffff:0:0", 96, AddressClass::Embedded),
    ("::ffff:0:0:0", 96, AddressClass::Embedded),
    ("64:ff9b::", 32, AddressClass::Embedded),
    ("2001::", 32, AddressClass::Embedded),
    ("2002::", 16, AddressClass::Embedded),
    ("fd00:ec2::254", 128, AddressClass::LinkLocal),
    ("100::", 64, AddressClass::Reserved),
    ("2001::", 23, AddressClass::Reserved),
    ("2001:db8::", 32, AddressClass::Reserved),
    ("3fff::", 16, AddressClass::Reserved),
    ("5f00::", 16, AddressClass::Reserved),
    ("fc00::", 7, AddressClass::Private),
    ("fe80::", 10, AddressClass::LinkLocal),
    ("fec0::", 10, AddressClass::Private),
    ("ff00::", 8, AddressClass::Multicast),
    ("2000::", 3, AddressClass::Public),
    ("::", 0, AddressClass::Reserved),
];

fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

/// The class of an address by the table. ISATAP is no range: it stands in the middle of any address.
fn expected(address: IpAddr) -> AddressClass {
    let (own, width) = bits(address);
    for (network, length, class) in RANGES {
        let (network, of) = bits(network.parse().expect("the table holds addresses"));
        let shift = u32::from(width - (*length).min(width));
        if of == width && own.checked_shr(shift) == network.checked_shr(shift) {
            let interface = (own >> 32) as u32 & !0x0200_0000;
            let isatap = width == 128 && interface == 0x5efe;
            let special = matches!(class, AddressClass::Unspecified | AddressClass::Loopback | AddressClass::Embedded);
            return if isatap && !special { AddressClass::Embedded } else { *class };
        }
    }
    AddressClass::Public
}

fn check_class(address: IpAddr) {
    let class = AddressClass::of(address);
    assert_eq!(class, expected(address), "{address}");
    let private = match address {
        IpAddr::V4(four) => {
            four.is_private()
                || four.is_loopback()
                || four.is_link_local()
                || four.is_multicast()
                || four.is_broadcast()
                || four.is_documentation()
                || four.is_unspecified()
        }
        IpAddr::V6(six) => {
            six.is_unique_local()
                || six.is_unicast_link_local()
                || six.is_multicast()
                || six.is_loopback()
                || six.is_unspecified()
                || six.to_ipv4().is_some()
        }
    };
    assert!(!private || class != AddressClass::Public, "{address} is not public");
    assert!(!class.is_local() || class.can_be_named());
    assert!(!class.as_str().is_empty());
}

/// A URL with this authority is refused, or goes to `address`, which it shows.
fn refused_or(authority: &str, address: IpAddr) {
    for scheme in ["http", "https"] {
        let url = format!("{scheme}://{authority}/");
        let Ok(parts) = UrlParts::parse(&url) else { continue };
        let (host, _) = parts.host_and_port();
        let shown: IpAddr =
            host.parse().unwrap_or_else(|_| panic!("`{url}` goes to {address}, and is taken for a name"));
        assert_eq!(shown, address, "`{url}`");
        assert_eq!(host, address.to_string(), "`{url}` is a second spelling");
        check_class(shown);
    }
}

fn check_v4(address: Ipv4Addr, bytes: &mut Bytes<'_>) {
    let true_address = IpAddr::V4(address);
    check_class(true_address);
    let [a, b, c, d] = address.octets();
    assert!(UrlParts::parse(&format!("http://{address}:8080/x")).is_ok());
    let mut part = |value: u32| match bytes.below(6) {
        0 => format!("{value:#x}"),
        1 => format!("{value:#X}"),
        2 => format!("0{value:o}"),
        3 => format!("00{value}"),
        4 => format!("0x00{value:x}"),
        _ => value.to_string(),
    };
    let whole = u32::from(address);
    let spellings = [
        format!("{}.{}.{}.{}", part(a.into()), part(b.into()), part(c.into()), part(d.into())),
        format!("{}.{}.{}", part(a.into()), part(b.into()), part(whole & 0xffff)),
        format!("{}.{}", part(a.into()), part(whole & 0xff_ffff)),
        part(whole),
        format!("{address}."),
        format!("[{address}]"),
        format!("{address}%2e"),
        address.to_string().replace('.', "%2e"),
        address.to_string().replace('.', "\u{3002}"),
        address.to_string().chars().map(|c| if c == '1' { '\u{ff11}' } else { c }).collect(),
        format!("user@{address}"),
        format!("{address}@example.com"),
        format!("{address}\\@example.com"),
        format!("{address}#@example.com"),
        format!("{address}:080"),
        format!("{address}: 80"),
    ];
    for spelling in &spellings {
        refused_or(spelling, true_address);
    }
    let (high, low) = (whole >> 16, whole & 0xffff);
    let (not_high, not_low) = (!whole >> 16, !whole & 0xffff);
    let carriers = [
        format!("::ffff:{address}"),
        format!("::ffff:0:{address}"),
        format!("::{address}"),
        format!("64:ff9b::{address}"),
        format!("64:ff9b:1::{address}"),
        format!("64:ff9b:1:{high:x}:{:x}:{:x}::", low >> 8, (low & 0xff) << 8),
        format!("2002:{high:x}:{low:x}::1"),
        format!("2001:0:{high:x}:{low:x}::"),
        format!("2001:0:1:2:3:4:{not_high:x}:{not_low:x}"),
        format!("2001:db8:1:2:0:5efe:{high:x}:{low:x}"),
        format!("fe80::200:5efe:{high:x}:{low:x}"),
    ];
    let chosen = bytes.below(carriers.len());
    for (place, text) in carriers.iter().enumerate() {
        let carrying: Ipv6Addr = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        let class = AddressClass::of(IpAddr::V6(carrying));
        let itself = carrying.is_unspecified() || carrying.is_loopback();
        assert!(itself || class == AddressClass::Embedded, "{text} is {}", class.as_str());
        assert!(class != AddressClass::Public && (itself || !class.can_be_named() && !class.is_local()), "{text}");
        if place == chosen {
            check_v6(carrying, bytes);
        }
    }
}

fn check_v6(address: Ipv6Addr, bytes: &mut Bytes<'_>) {
    let true_address = IpAddr::V6(address);
    check_class(true_address);
    let shown = canonical(address);
    assert_eq!(shown, address.to_string(), "an address is written in another way than usual");
    let url = format!("https://[{shown}]:8443/");
    assert!(UrlParts::parse(&url).is_ok_and(|parts| parts.host_and_port() == (shown.as_str(), 8443)));
    let groups = address.segments();
    let mut group = |value: u16| match bytes.below(4) {
        0 => format!("{value:04x}"),
        1 => format!("{value:X}"),
        2 => format!("0{value:x}"),
        _ => format!("{value:x}"),
    };
    let mut joined = |from: usize, to: usize| groups[from..to].iter().map(|v| group(*v)).collect::<Vec<_>>().join(":");
    let full = joined(0, 8);
    let dotted = Ipv4Addr::from((u32::from(groups[6]) << 16) | u32::from(groups[7]));
    let mut spellings = vec![full.clone(), format!("{}:{dotted}", joined(0, 6)), shown.to_uppercase()];
    for start in 0..8 {
        for end in (start + 1..=8).filter(|end| groups[start..*end].iter().all(|group| *group == 0)) {
            spellings.push(format!("{}::{}", joined(0, start), joined(end, 8)));
            if end <= 6 {
                let middle = joined(end, 6);
                let tail = if middle.is_empty() { dotted.to_string() } else { format!("{middle}:{dotted}") };
                spellings.push(format!("{}::{tail}", joined(0, start)));
            }
        }
    }
    for spelling in &spellings {
        refused_or(&format!("[{spelling}]"), true_address);
        refused_or(spelling, true_address);
        refused_or(&format!("[{spelling}%eth0]"), true_address);
        refused_or(&format!("[{spelling}%25eth0]"), true_address);
        refused_or(&format!("[{spelling}].example.com"), true_address);
        refused_or(&format!("[[{spelling}]]"), true_address);
    }
}

/// The one spelling of RFC 5952: lower case, no leading zeros, `::` for the longest run of at least two zeros and the
/// first among equals, IPv4 in its own form where it is mapped.
fn canonical(address: Ipv6Addr) -> String {
    if let Some(four) = address.to_ipv4_mapped() {
        return format!("::ffff:{four}");
    }
    let groups = address.segments();
    let mut best = 0..0;
    for start in 0..8 {
        let end = (start..8).find(|at| groups[*at] != 0).unwrap_or(8);
        if end - start > best.len() && end - start > 1 {
            best = start..end;
        }
    }
    let text = |part: &[u16]| part.iter().map(|group| format!("{group:x}")).collect::<Vec<_>>().join(":");
    if best.is_empty() {
        text(&groups)
    } else {
        format!("{}::{}", text(&groups[..best.start]), text(&groups[best.end..]))
    }
}

/// Any text where an authority stands. Whatever the most lenient reader would take for an address is refused, or shows it.
fn check_text(authority: &str) {
    let whole = authority.bytes().all(|b| !matches!(b, b'/' | b'?' | b'#' | b'\\'));
    for scheme in ["http", "https"] {
        let url = format!("{scheme}://{authority}/x");
        let Ok(parts) = UrlParts::parse(&url) else { continue };
        let (host, port) = parts.host_and_port();
        let shown = host.parse::<IpAddr>().ok();
        shown.into_iter().for_each(check_class);
        assert_ne!(port, 0, "`{url}`");
        if !whole {
            continue;
        }
        assert_eq!(parts.authority, authority);
        let lenient = lenient_host(authority);
        match read_leniently(&lenient) {
            Lenient::Name => assert_eq!(shown, None, "`{url}`"),
            Lenient::Address(address) => {
                assert_eq!(shown, Some(address), "`{url}` goes to {address} for a lenient reader");
                assert_eq!(host, address.to_string(), "`{url}` is a second spelling");
            }
            Lenient::OutOfRange => panic!("`{url}` is a number for a lenient reader"),
        }
    }
}

enum Lenient {
    Name,
    Address(IpAddr),
    OutOfRange,
}

/// What lenient readers take for the host: behind the last `@`, before the port, escapes undone, in lower case.
fn lenient_host(authority: &str) -> String {
    let rest = authority.rsplit('@').next().unwrap_or(authority);
    let host = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => format!("[{}]", host.split('%').next().unwrap_or(host)),
        None => rest.split(':').next().unwrap_or(rest).to_owned(),
    };
    let mut decoded = String::new();
    let mut rest = host.as_str();
    while let Some(at) = rest.find('%') {
        let byte = rest.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded += &rest[..at];
        decoded.push(byte.map_or('%', char::from));
        rest = rest.get(at + if byte.is_some() { 3 } else { 1 }..).unwrap_or_default();
    }
    decoded += rest;
    decoded.to_ascii_lowercase()
}

/// As `inet_aton` and browsers do: one to four numbers, decimal, octal or hexadecimal, the last one filling what is left.
fn read_leniently(host: &str) -> Lenient {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().map_or(Lenient::Name, |six| Lenient::Address(IpAddr::V6(six)));
    }
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    let number = |label: &str| -> Option<Option<u64>> {
        let (digits, radix) = match label.strip_prefix("0x") {
            Some(digits) => (digits, 16),
            None if label.len() > 1 && label.starts_with('0') && label.bytes().all(|b| (b'0'..=b'7').contains(&b)) => {
                (label, 8)
            }
            None => (label, 10),
        };
        let like = digits.bytes().all(|b| char::from(b).is_digit(radix)) && !(digits.is_empty() && radix != 16);
        like.then(|| if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, radix).ok() })
    };
    if labels.last().and_then(|last| number(last)).is_none() {
        return Lenient::Name;
    }
    let values: Option<Vec<u64>> = labels.iter().map(|label| number(label).flatten()).collect();
    let Some(values) = values.filter(|values| values.len() <= 4) else { return Lenient::OutOfRange };
    let Some((last, first)) = values.split_last() else { return Lenient::Name };
    let room = 8 * (4 - first.len() as u32);
    if first.iter().any(|value| *value > 255) || *last >= 1 << room {
        return Lenient::OutOfRange;
    }
    let high = first.iter().enumerate().fold(0, |sum, (place, value)| sum | value << (24 - 8 * place));
    u32::try_from(high | last).map_or(Lenient::OutOfRange, |whole| Lenient::Address(IpAddr::V4(whole.into())))
}
