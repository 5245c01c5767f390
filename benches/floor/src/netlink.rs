//! Netlink as bytes (`man 7 rtnetlink`, `linux/netlink.h`).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    RTM_DELLINK, RTM_GETLINK, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWROUTE, RTM_SETLINK,
};

/// The bytes of a datagram of requests: the kernel takes one of up to the send buffer's size.
const DATAGRAM: usize = 32 * 1024;
/// Answers about links that fit into the smallest receive buffer.
const QUESTIONS: usize = 32;

/// The protocol number of netform's addresses and routes.
const PROTOCOL: u8 = 110;

/// `linux/if_addr.h`, Linux 5.18.
const IFA_PROTO: u16 = 11;
/// The table that something is of, and the table's own name, of any kind (`linux/netfilter/nf_tables.h`).
const NFTA_TABLE: u16 = 1;
/// The set that elements are of.
const NFTA_SET_ELEM_LIST_SET: u16 = 2;

pub(crate) struct Socket(OwnedFd);

/// Requests, and where each begins.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Batch {
    fn begin(&mut self, kind: u16, flags: i32, fixed: &[u8]) {
        self.end();
        self.starts.push(self.bytes.len());
        let flags = u16::try_from(flags | NLM_F_REQUEST).expect("16 bits");
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend([0; 8]);
        self.bytes.extend(fixed);
        self.pad();
    }

    /// Writes the length of the last one.
    fn end(&mut self) {
        if let Some(start) = self.starts.last() {
            let length = u32::try_from(self.bytes.len() - start).expect("short");
            self.bytes[*start..start + 4].copy_from_slice(&length.to_ne_bytes());
        }
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn put(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).expect("short");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.pad();
    }

    fn text(&mut self, kind: u16, value: &str) {
        self.put(kind, &[value.as_bytes(), &[0]].concat());
    }

    fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Batch)) {
        let start = self.bytes.len();
        self.put(kind, &[]);
        inside(self);
        let length = u16::try_from(self.bytes.len() - start).expect("short");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// A veth pair, the other end in a namespace of a descriptor.
    pub(crate) fn pair(&mut self, here: (u32, &str), there: (u32, &str), group: u32, ns: i32) {
        self.begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link(here.0, false));
        self.end_of_pair(here, group);
        self.nest(libc::IFLA_LINKINFO, |batch| {
            batch.put(libc::IFLA_INFO_KIND, b"veth");
            batch.nest(libc::IFLA_INFO_DATA, |batch| {
                batch.nest(1, |batch| {
                    batch.bytes.extend(link(there.0, false));
                    batch.end_of_pair(there, group);
                    batch.put(libc::IFLA_NET_NS_FD, &ns.to_ne_bytes());
                });
            });
        });
    }

    fn end_of_pair(&mut self, (index, name): (u32, &str), group: u32) {
        self.text(libc::IFLA_IFNAME, name);
        self.put(libc::IFLA_MTU, &1500_u32.to_ne_bytes());
        let [a, b, c, d] = index.to_be_bytes();
        self.put(libc::IFLA_ADDRESS, &[2, 0, a, b, c, d]);
        self.put(libc::IFLA_GROUP, &group.to_ne_bytes());
        self.put(libc::IFLA_NUM_TX_QUEUES, &1_u32.to_ne_bytes());
        self.put(libc::IFLA_NUM_RX_QUEUES, &1_u32.to_ne_bytes());
    }

    /// A change of a link.
    pub(crate) fn change(&mut self, index: u32, alias: Option<&str>, up: bool) {
        self.begin(RTM_SETLINK, 0, &link(index, up));
        if let Some(alias) = alias {
            self.put(libc::IFLA_IFALIAS, alias.as_bytes());
        }
    }

    /// An address of a link, without duplicate address detection.
    pub(crate) fn address(&mut self, index: u32, ip: IpAddr, length: u8) {
        let (family, bytes) = octets(ip);
        let mut fixed = vec![family, length, 0, 0];
        fixed.extend(index.to_ne_bytes());
        self.begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &fixed);
        self.put(libc::IFA_LOCAL, &bytes);
        self.put(libc::IFA_ADDRESS, &bytes);
        if ip.is_ipv6() {
            self.put(libc::IFA_FLAGS, &libc::IFA_F_NODAD.to_ne_bytes());
        }
        self.put(IFA_PROTO, &[PROTOCOL]);
    }

    /// A default route.
    pub(crate) fn default_route(&mut self, via: IpAddr, dev: u32) {
        let (family, bytes) = octets(via);
        let fixed = [
            family,
            0,
            0,
            0,
            libc::RT_TABLE_MAIN,
            PROTOCOL,
            0,
            1,
            0,
            0,
            0,
            0,
        ];
        self.begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &fixed);
        self.put(libc::RTA_GATEWAY, &bytes);
        self.put(libc::RTA_OIF, &dev.to_ne_bytes());
    }
}

/// `struct ifinfomsg`.
fn link(index: u32, up: bool) -> [u8; 16] {
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    if up {
        let flag = libc::IFF_UP.to_ne_bytes();
        fixed[8..12].copy_from_slice(&flag);
        fixed[12..16].copy_from_slice(&flag);
    }
    fixed
}

fn octets(ip: IpAddr) -> (u8, Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => (libc::AF_INET as u8, ip.octets().to_vec()),
        IpAddr::V6(ip) => (libc::AF_INET6 as u8, ip.octets().to_vec()),
    }
}

impl Socket {
    /// Opens one in the namespace of this thread.
    pub(crate) fn open(protocol: i32) -> io::Result<Socket> {
        // SAFETY: it makes a descriptor, which nobody else has.
        let fd = unsafe {
            libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                protocol,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just made.
        Ok(Socket(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer and the length are those of a slice.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    fn hear(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the pointer and the length are those of a slice.
        let heard = unsafe {
            libc::recv(
                self.0.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
            )
        };
        usize::try_from(heard).map_err(|_| io::Error::last_os_error())
    }

    /// Sends requests, as many datagrams as they take. The last of each is acknowledged; an error of any comes unasked.
    pub(crate) fn send(&self, mut batch: Batch) -> io::Result<()> {
        batch.end();
        batch.starts.push(batch.bytes.len());
        let mut first = 0;
        for at in 1..batch.starts.len() {
            let is_last = at + 1 == batch.starts.len();
            if !is_last && batch.starts[at + 1] - batch.starts[first] <= DATAGRAM {
                continue;
            }
            let last = batch.starts[at - 1];
            batch.bytes[last + 6] |= u8::try_from(NLM_F_ACK).expect("8 bits");
            self.exchange(&batch.bytes[batch.starts[first]..batch.starts[at]])?;
            first = at;
        }
        Ok(())
    }

    /// Sends a datagram, and takes the first error or acknowledgement for its answer.
    fn exchange(&self, datagram: &[u8]) -> io::Result<()> {
        self.write(datagram)?;
        let mut buffer = [0; 4096];
        let heard = self.hear(&mut buffer)?;
        verdict(&buffer[..heard])
    }

    /// Asks for links, so that the kernel looks at their carriers.
    pub(crate) fn ask(&self, links: impl IntoIterator<Item = u32>) -> io::Result<()> {
        let links: Vec<u32> = links.into_iter().collect();
        let mut buffer = vec![0; 64 * 1024];
        for links in links.chunks(QUESTIONS) {
            let mut batch = Batch::default();
            for index in links {
                batch.begin(RTM_GETLINK, 0, &link(*index, false));
            }
            batch.end();
            self.write(&batch.bytes)?;
            for _ in links {
                self.hear(&mut buffer)?;
            }
        }
        Ok(())
    }

    /// Sends a transaction of nftables whose last request is acknowledged.
    pub(crate) fn transact(&self, bytes: &[u8]) -> io::Result<()> {
        let size: i32 = 1 << 26;
        // SAFETY: the pointer and the length are those of a number.
        unsafe {
            let value = (&raw const size).cast();
            for option in [libc::SO_SNDBUF, libc::SO_SNDBUFFORCE] {
                libc::setsockopt(self.0.as_raw_fd(), libc::SOL_SOCKET, option, value, 4);
            }
        }
        self.exchange(bytes)
    }

    /// Removes all links of a group.
    pub(crate) fn remove_group(&self, group: u32) -> io::Result<()> {
        let mut batch = Batch::default();
        batch.begin(RTM_DELLINK, 0, &link(0, false));
        batch.put(libc::IFLA_GROUP, &group.to_ne_bytes());
        self.send(batch)
    }

    /// Removes an nftables table.
    pub(crate) fn remove_table(&self, name: &str) -> io::Result<()> {
        let mut batch = Batch::default();
        let subsystem = [0, 0, 0, libc::NFNL_SUBSYS_NFTABLES as u8];
        batch.begin(libc::NFNL_MSG_BATCH_BEGIN as u16, 0, &subsystem);
        let remove = (libc::NFNL_SUBSYS_NFTABLES << 8 | libc::NFT_MSG_DELTABLE) as u16;
        batch.begin(remove, NLM_F_ACK, &[1, 0, 0, 0]);
        batch.text(NFTA_TABLE, name);
        batch.begin(libc::NFNL_MSG_BATCH_END as u16, 0, &subsystem);
        batch.end();
        self.exchange(&batch.bytes)
    }

    /// Reads all of a kind, in both families, and says how much that is.
    pub(crate) fn dump(&self, kind: u16) -> io::Result<usize> {
        let mut batch = Batch::default();
        match kind {
            RTM_GETLINK => {
                batch.begin(kind, NLM_F_DUMP, &link(0, false));
                batch.put(libc::IFLA_EXT_MASK, &8_u32.to_ne_bytes());
            }
            _ => batch.begin(kind, NLM_F_DUMP, &[0; 12]),
        }
        batch.end();
        self.write(&batch.bytes)?;
        self.rest()
    }

    fn rest(&self) -> io::Result<usize> {
        let mut buffer = vec![0; DATAGRAM];
        let mut all = 0;
        loop {
            let heard = self.hear(&mut buffer)?;
            all += heard;
            let mut rest = &buffer[..heard];
            while let Some(header) = rest.get(..16) {
                let length = u32::from_ne_bytes(header[..4].try_into().expect("4")) as usize;
                let kind = i32::from(u16::from_ne_bytes(header[4..6].try_into().expect("2")));
                if kind == NLMSG_DONE || kind == NLMSG_ERROR {
                    return verdict(rest).map(|()| all);
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    /// Reads the sets of an nftables table with their elements, its chains, and its rules.
    pub(crate) fn dump_table(&self, name: &str) -> io::Result<usize> {
        let mut all = 0;
        let mut ask = |kind: i32, attributes: &[(u16, &str)]| {
            let mut batch = Batch::default();
            let kind = (libc::NFNL_SUBSYS_NFTABLES << 8 | kind) as u16;
            batch.begin(kind, NLM_F_DUMP, &[1, 0, 0, 0]);
            for (attribute, value) in attributes {
                batch.text(*attribute, value);
            }
            batch.end();
            self.write(&batch.bytes)?;
            self.rest().map(|bytes| all += bytes)
        };
        ask(libc::NFT_MSG_GETCHAIN, &[])?;
        ask(libc::NFT_MSG_GETRULE, &[(NFTA_TABLE, name)])?;
        ask(libc::NFT_MSG_GETSET, &[(NFTA_TABLE, name)])?;
        for set in [
            "links",
            "masquerade4",
            "masquerade6",
            "pass4",
            "pass6",
            "sources4",
            "sources6",
        ] {
            ask(
                libc::NFT_MSG_GETSETELEM,
                &[(NFTA_TABLE, name), (NFTA_SET_ELEM_LIST_SET, set)],
            )?;
        }
        Ok(all)
    }
}

/// What an answer says of the request.
fn verdict(answer: &[u8]) -> io::Result<()> {
    let code = answer
        .get(16..20)
        .map_or(0, |code| i32::from_ne_bytes(code.try_into().expect("4")));
    if code < 0 {
        Err(io::Error::from_raw_os_error(-code))
    } else {
        Ok(())
    }
}
