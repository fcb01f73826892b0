//! A certificate authority of openssl's, with the server that its certificates name: a revocation list by `openssl ca` and answers by
//! `openssl ocsp`. In: names. Out: identities as notation signs with, lists, and an address that answers until it is dropped.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::certificates::Identity;
use crate::command::finish;

const LIMIT: Duration = Duration::from_secs(30);

/// A root at openssl, whose leaves name a list and a responder at [`OpensslAuthority::host`].
#[derive(Debug)]
pub struct OpensslAuthority {
    folder: TempDir,
    /// `127.0.0.1:PORT`, where lists and answers are.
    pub host: String,
    /// What was asked for; held for a moment by whoever writes or reads it.
    asked: Arc<Mutex<Vec<String>>>,
}

/// The certificates that openssl makes, and its database.
fn configuration(folder: &Path, host: &str) -> String {
    let folder = folder.display();
    format!(
        "[req]\ndistinguished_name=dn\n[dn]\n\
         [root]\nbasicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n\
         [listed]\nbasicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n\
         crlDistributionPoints=URI:http://{host}/ca.crl\n\
         [answered]\nbasicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n\
         authorityInfoAccess=OCSP;URI:http://{host}/ocsp\n\
         [ca]\ndefault_ca=issuer\n\
         [issuer]\ndatabase={folder}/index.txt\ncrlnumber={folder}/crlnumber\ndefault_md=sha256\ndefault_crl_days=1\n\
         crl_extensions=crl\n[crl]\nauthorityKeyIdentifier=keyid:always\n"
    )
}

impl OpensslAuthority {
    /// A new root, and its server on a port of its own.
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("assay-openssl-").tempdir()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let host = listener.local_addr()?.to_string();
        fs::write(folder.path().join("openssl.cnf"), configuration(folder.path(), &host))?;
        fs::write(folder.path().join("index.txt"), "")?;
        fs::write(folder.path().join("crlnumber"), "01\n")?;
        let authority = Self { folder, host, asked: Arc::default() };
        authority.key("root")?;
        let subject = "/C=DE/ST=Berlin/O=Acme/CN=Root";
        authority.openssl(&format!(
            "req -x509 -new -key root.key -subj {subject} -days 30 -config openssl.cnf -extensions root -set_serial 1 -out root.pem"
        ))?;
        let (path, asked) = (authority.folder.path().to_owned(), Arc::clone(&authority.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // Once the folder is gone, so is the authority.
                let Ok(stream) = stream else { return };
                if !path.exists() {
                    return;
                }
                let _ = serve(stream, &path, &asked);
            }
        });
        Ok(authority)
    }

    /// The root's certificate.
    pub fn root_pem(&self) -> Result<String> {
        Ok(fs::read_to_string(self.file("root.pem"))?)
    }

    /// A code signing key whose certificate names the list.
    pub fn listed(&self, name: &str) -> Result<Identity> {
        self.issue(name, "listed")
    }

    /// A code signing key whose certificate names the responder.
    pub fn answered(&self, name: &str) -> Result<Identity> {
        self.issue(name, "answered")
    }

    fn issue(&self, name: &str, section: &str) -> Result<Identity> {
        let database = fs::read_to_string(self.file("index.txt"))?;
        let serial = 16 + database.lines().count();
        self.key(name)?;
        let subject = format!("/C=DE/ST=Berlin/O=Acme/CN={name}");
        self.openssl(&format!("req -new -key {name}.key -subj {subject} -config openssl.cnf -out {name}.csr"))?;
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA root.pem -CAkey root.key -set_serial {serial} -days 30 -extfile openssl.cnf \
             -extensions {section} -out {name}.pem"
        ))?;
        // What `openssl ca` writes: status, end, revocation, serial, file, subject.
        let entry = format!("V\t491231235959Z\t\t{serial:02X}\tunknown\t{subject}\n");
        fs::write(self.file("index.txt"), format!("{database}{entry}"))?;
        let read = |file: String| fs::read_to_string(self.file(&file));
        let chain_pem = format!("{}{}", read(format!("{name}.pem"))?, self.root_pem()?);
        Ok(Identity { chain_pem, key_pem: read(format!("{name}.key"))? })
    }

    /// Revokes a certificate; lists and answers say so from now on.
    pub fn revoke(&self, name: &str) -> Result<()> {
        self.openssl(&format!(
            "ca -config openssl.cnf -name issuer -revoke {name}.pem -keyfile root.key -cert root.pem"
        ))?;
        Ok(())
    }

    /// The list as it is now, in DER.
    pub fn list(&self) -> Result<Vec<u8>> {
        list(self.folder.path())
    }

    /// The address of the list, as certificates name it.
    pub fn list_url(&self) -> String {
        format!("http://{}/ca.crl", self.host)
    }

    /// What was asked for so far: `GET /ca.crl`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn key(&self, name: &str) -> Result<()> {
        let curve = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out";
        self.openssl(&format!("{curve} {name}.key"))
    }

    fn openssl(&self, words: &str) -> Result<()> {
        openssl(self.folder.path(), words)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn openssl(folder: &Path, words: &str) -> Result<()> {
    let mut command = Command::new("openssl");
    command.args(words.split_whitespace()).current_dir(folder);
    finish(&mut command, LIMIT)?.success().map(drop)
}

fn list(folder: &Path) -> Result<Vec<u8>> {
    openssl(folder, "ca -config openssl.cnf -name issuer -gencrl -keyfile root.key -cert root.pem -out list.pem")?;
    openssl(folder, "crl -in list.pem -outform DER -out list.der")?;
    Ok(fs::read(folder.join("list.der"))?)
}

fn answer(folder: &Path, question: &[u8]) -> Result<Vec<u8>> {
    fs::write(folder.join("question.der"), question)?;
    openssl(
        folder,
        "ocsp -index index.txt -CA root.pem -rsigner root.pem -rkey root.key -reqin question.der -respout answer.der -ndays 1",
    )?;
    Ok(fs::read(folder.join("answer.der"))?)
}

/// One request, one answer.
fn serve(stream: TcpStream, folder: &Path, asked: &Mutex<Vec<String>>) -> Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().context("a length is a number")?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let words: Vec<&str> = first.split_whitespace().take(2).collect();
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(words.join(" "));
    let found = match words.as_slice() {
        ["GET", "/ca.crl"] => list(folder)?,
        _ => answer(folder, &body)?,
    };
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", found.len());
    let mut stream = reader.into_inner();
    stream.write_all(head.as_bytes())?;
    Ok(stream.write_all(&found)?)
}
