//! One fetch of one list over HTTP.
//!
//! In: the list, and what is known of its copy. Out: its bytes, or that the copy is still the list. Time, size and
//! redirections are bounded, a redirection never leaves TLS, and no error names the address.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ureq::http::header::{AUTHORIZATION, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use ureq::http::{HeaderName, Response, StatusCode};

use super::copy::Stamp;
use crate::engine::trust;
use policy::config::{AccessList, Bytes};

const REDIRECTIONS: u32 = 3;
const CONNECTING: Duration = Duration::from_secs(10);
/// Longer validators are not kept.
const LONGEST_VALIDATOR: usize = 1024;

/// What a server answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The list, with its `ETag` and `Last-Modified`.
    List { bytes: Vec<u8>, etag: Option<String>, last_modified: Option<String> },
    /// The copy is still the list.
    Same,
}

/// Asks the server of a list once.
pub fn fetch(list: &AccessList, url: &str, known: Option<&Stamp>) -> Result<Answer> {
    let agent: ureq::Agent = trust::client(list.ca_file.as_deref(), list.within())?
        .timeout_connect(Some(CONNECTING.min(list.within())))
        .https_only(url.starts_with("https://"))
        .max_redirects(REDIRECTIONS)
        .http_status_as_error(false)
        .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut request = agent.get(url);
    if let Some(file) = &list.authorization_file {
        let secret = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        request = request.header(AUTHORIZATION, secret.trim());
    }
    if let Some(etag) = known.and_then(|stamp| stamp.etag.as_ref()) {
        request = request.header(IF_NONE_MATCH, etag);
    }
    if let Some(last_modified) = known.and_then(|stamp| stamp.last_modified.as_ref()) {
        request = request.header(IF_MODIFIED_SINCE, last_modified);
    }
    let mut response = request.call().map_err(|error| without_address(&error))?;
    match response.status() {
        StatusCode::NOT_MODIFIED if known.is_some() => return Ok(Answer::Same),
        StatusCode::OK => {}
        status => bail!("the server answered {status}"),
    }
    let largest = list.largest_bytes();
    let too_long = || anyhow::anyhow!("the answer is longer than {}", Bytes(largest));
    if response.body().content_length().is_some_and(|length| length > largest) {
        return Err(too_long());
    }
    let [etag, last_modified] = [ETAG, LAST_MODIFIED].map(|header| validator(&response, &header));
    // One byte more than may be, so that exactly as many as may be are taken.
    let bytes = response.body_mut().with_config().limit(largest + 1).read_to_vec();
    match bytes {
        Ok(bytes) if bytes.len() as u64 <= largest => Ok(Answer::List { bytes, etag, last_modified }),
        Ok(_) | Err(ureq::Error::BodyExceedsLimit(_)) => Err(too_long()),
        Err(error) => Err(without_address(&error).context("the answer broke off")),
    }
}

fn validator<T>(response: &Response<T>, header: &HeaderName) -> Option<String> {
    let value = response.headers().get(header)?.to_str().ok()?;
    (value.len() <= LONGEST_VALIDATOR).then(|| value.to_owned())
}

/// An error in words that never hold an address, which may hold a key.
fn without_address(error: &ureq::Error) -> anyhow::Error {
    match error {
        ureq::Error::BadUri(_) => anyhow::anyhow!("it leads to something that is no address of the web"),
        ureq::Error::RequireHttpsOnly(_) => anyhow::anyhow!("a redirection leads away from https://"),
        ureq::Error::TooManyRedirects => {
            anyhow::anyhow!("there are more than {REDIRECTIONS} redirections")
        }
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("{error}: is the address outside of the unit's IPAddressAllow=?")
        }
        error => anyhow::anyhow!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread::{self, JoinHandle};
    use std::time::Instant;

    use super::*;

    /// What a server does after the first bytes of its answer.
    type Then = fn(&mut TcpStream);
    /// An answer, what follows, and a word of the error.
    type Case = (&'static [u8], Then, &'static str);

    /// A server of one answer; gives the request it got.
    fn server(answer: &'static [u8], then: Then) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/drop?key=secret", listener.local_addr().unwrap());
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut one = [0];
                stream.read_exact(&mut one).unwrap();
                request.push(one[0]);
            }
            stream.write_all(answer).unwrap();
            then(&mut stream);
            String::from_utf8(request).unwrap().to_lowercase()
        });
        (url, serving)
    }

    fn list(url: &str) -> AccessList {
        let text = format!("url = \"{url}\"\nwithin = \"1s\"\nlargest = \"1 KiB\"");
        toml::from_str(&text).unwrap()
    }

    fn fetched(answer: &'static [u8], then: Then) -> Result<Answer> {
        let (url, serving) = server(answer, then);
        let outcome = fetch(&list(&url), &url, None);
        drop(serving.join());
        outcome
    }

    #[test]
    fn a_list_comes_with_its_validators_which_are_asked_with_next_time() {
        let answer = b"HTTP/1.1 200 OK\r\netag: \"7\"\r\nlast-modified: Sat, 28 Nov 2026 10:00:00 GMT\r\ncontent-length: 4\r\n\r\nlist";
        let (url, serving) = server(answer, |_| {});
        let Answer::List { bytes, etag, last_modified } = fetch(&list(&url), &url, None).unwrap() else {
            panic!()
        };
        assert_eq!((bytes.as_slice(), etag.as_deref()), (&b"list"[..], Some("\"7\"")));
        assert!(!serving.join().unwrap().contains("if-none-match"));
        let known = Stamp { etag, last_modified, ..Stamp::default() };
        let (url, serving) = server(b"HTTP/1.1 304 Not Modified\r\n\r\n", |_| {});
        assert_eq!(fetch(&list(&url), &url, Some(&known)).unwrap(), Answer::Same);
        let request = serving.join().unwrap();
        assert!(
            request.contains("if-none-match: \"7\"\r\n") && request.contains("if-modified-since: sat, 28"),
            "{request}"
        );
    }

    #[test]
    fn answers_that_are_no_list_are_errors_without_the_address() {
        let endless: Then = |stream| while stream.write_all(&[b'x'; 512]).is_ok() {};
        let slow: Then = |stream| {
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(5) && stream.write_all(b"\n").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        };
        let plain = |_: &mut TcpStream| {};
        let cases: [Case; 9] = [
            (b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", plain, "500"),
            (b"HTTP/1.1 304 Not Modified\r\n\r\n", plain, "304"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 1025\r\n\r\n", plain, "longer than 1 KiB"),
            (b"HTTP/1.1 200 OK\r\n\r\n", endless, "longer than 1 KiB"),
            (b"HTTP/1.1 200 OK\r\n\r\n", slow, "broke off"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this", plain, "broke off"),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nonly\r\n", plain, "broke off"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", plain, ""),
            (b"HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\n\r\n", plain, ""),
        ];
        for (answer, then, told) in cases {
            let began = Instant::now();
            let shown = String::from_utf8_lossy(answer);
            let why = format!("{:#}", fetched(answer, then).expect_err(&shown));
            assert!(why.contains(told), "{shown}: {why}");
            assert!(
                !why.contains("secret") && !why.contains("drop") && !why.contains("/etc"),
                "{shown}: {why}"
            );
            assert!(began.elapsed() < Duration::from_secs(4), "{shown}: {:?}", began.elapsed());
        }
    }

    #[test]
    fn as_many_bytes_as_may_be_are_taken() {
        static ANSWER: [u8; 19 + 1024] = {
            let mut answer = [b'#'; 19 + 1024];
            let head = *b"HTTP/1.1 200 OK\r\n\r\n";
            let mut at = 0;
            while at < head.len() {
                answer[at] = head[at];
                at += 1;
            }
            answer
        };
        let Answer::List { bytes, .. } = fetched(&ANSWER, |_| {}).unwrap() else { panic!() };
        assert_eq!(bytes.len(), 1024);
    }
}
