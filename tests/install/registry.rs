//! A real registry on loopback: Debian's `docker-registry`. Where it is not installed these tests say so and do nothing,
//! unless `REDRESS_REGISTRY=required`.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tempfile::TempDir;

use super::{POLICY, Place, place, put};

/// What `acme` says to a closed registry, and what the registry keeps of it.
const PASSWORD: &str = "a-made-up-password";
const HTPASSWD: &str = "acme:$2y$05$szIppfXepFJDGzlSGESnHeXMfawpXJMHrKGxFKNLByLLpaZO7aVdy\n";

/// A registry with its files in a folder of its own, stopped by its process id.
struct Registry {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Registry {
    fn start() -> Option<Registry> {
        Registry::start_with("")
    }

    /// One that only lets `acme` in, with the password of [`PASSWORD`].
    fn start_closed() -> Option<Registry> {
        Registry::start_with("auth: { htpasswd: { realm: tests, path: FOLDER/htpasswd } }\n")
    }

    fn start_with(rest: &str) -> Option<Registry> {
        // A port that was free a moment ago may be somebody else's now: then another one is tried.
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let config = format!(
                "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\nhttp: {{ addr: \
                 127.0.0.1:{port} }}\n",
                folder.path().join("data").display()
            );
            let file = folder.path().join("config.yml");
            let rest = rest.replace("FOLDER", folder.path().to_str().unwrap());
            fs::write(&file, format!("{config}{rest}")).unwrap();
            fs::write(folder.path().join("htpasswd"), HTPASSWD).unwrap();
            let log = fs::File::create(folder.path().join("log")).unwrap();
            let started =
                Command::new("docker-registry").arg("serve").arg(&file).stdout(Stdio::null()).stderr(log).spawn();
            let Ok(child) = started else {
                assert!(std::env::var_os("REDRESS_REGISTRY").is_none(), "docker-registry is not installed");
                println!("skipped: docker-registry is not installed");
                return None;
            };
            let mut registry = Registry { child, port, folder };
            if registry.answers() {
                return Some(registry);
            }
        }
        panic!("docker-registry does not start");
    }

    fn answers(&mut self) -> bool {
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                // Somebody else's port: then this one has ended.
                return self.child.try_wait().unwrap().is_none();
            }
            std::thread::yield_now();
        }
        false
    }

    fn name(&self, rest: &str) -> String {
        format!("oci://127.0.0.1:{}/{rest}", self.port)
    }

    /// The file in which it keeps a blob.
    fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn push(place: &Place, target: &str) -> serde_json::Value {
    place.redress(&["capability", "push", "notes.wasm", target, "--json"]).exits(0).json()
}

#[test]
fn what_is_pushed_is_pulled_by_tag_and_by_digest_and_nothing_else() {
    let Some(registry) = Registry::start() else { return };
    let place = place();
    let tag = registry.name("acme/notes:1.0.0");
    let pushed = push(&place, &tag);
    assert_eq!(push(&place, &tag)["manifest"], pushed["manifest"], "the same component makes the same artifact");
    let added = place.redress(&["capability", "add", &tag, "--json"]).exits(0).json();
    assert_eq!((&added["digest"], &added["manifest"]), (&pushed["digest"], &pushed["manifest"]));
    place.redress(&["run", "workflow.yaml"]).exits(0);
    place.redress(&["capability", "remove", "notes"]).exits(0);
    let exactly = registry.name(&format!("acme/notes@{}", pushed["manifest"].as_str().unwrap()));
    let added = place.redress(&["capability", "add", &exactly, "--json"]).exits(0).json();
    assert_eq!(added["digest"], pushed["digest"]);
    place.redress(&["capability", "outdated"]).exits(0);
    let missing = place.redress(&["capability", "add", &registry.name("acme/notes:2")]).exits(2);
    assert!(missing.stderr.contains("is not in the registry"), "{missing:#?}");
}

#[test]
fn a_moved_tag_is_refused_with_the_difference() {
    let Some(registry) = Registry::start() else { return };
    let place = place();
    let tag = registry.name("acme/notes:latest");
    push(&place, &tag);
    place.redress(&["capability", "add", &tag]).exits(0);
    put(&place, "notes_2");
    push(&place, &tag);
    place.redress(&["run", "workflow.yaml"]).exits(0);
    let outdated = place.redress(&["capability", "outdated"]).exits(6);
    assert!(outdated.stdout.contains("is installed"), "{outdated:#?}");
    let refused = place.redress(&["capability", "add", &tag]).exits(6);
    assert!(refused.stdout.contains("! acme.notes.write: permissions"), "{refused:#?}");
    place.redress(&["capability", "add", &tag, "--accept"]).exits(0);
    place.redress(&["capability", "outdated"]).exits(0);
}

#[test]
fn an_upgrade_that_wants_more_is_refused_until_it_is_accepted() {
    let Some(registry) = Registry::start() else { return };
    let place = place();
    push(&place, &registry.name("acme/notes:1"));
    place.redress(&["capability", "add", &registry.name("acme/notes:1")]).exits(0);
    put(&place, "notes_2");
    push(&place, &registry.name("acme/notes:2"));
    let refused = place.redress(&["capability", "add", &registry.name("acme/notes:2")]).exits(6);
    assert!(refused.stdout.contains("collect.example.com"), "{refused:#?}");
    place.redress(&["capability", "add", &registry.name("acme/notes:2"), "--accept"]).exits(0);
}

#[test]
fn a_changed_layer_and_a_truncated_blob_are_refused() {
    let Some(registry) = Registry::start() else { return };
    let place = place();
    let tag = registry.name("acme/notes:1");
    let pushed = push(&place, &tag);
    let blob = registry.blob(pushed["digest"].as_str().unwrap());
    let bytes = fs::read(&blob).unwrap();
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 1;
    for broken in [changed, bytes[..bytes.len() / 2].to_vec(), [bytes.clone(), vec![0]].concat()] {
        fs::write(&blob, &broken).unwrap();
        let refused = place.redress(&["capability", "add", &tag]);
        assert!(matches!(refused.code, Some(2 | 6)), "{refused:#?}");
        assert!(!Path::new(&place.path("redress.lock")).exists(), "{refused:#?}");
    }
    fs::write(&blob, &bytes).unwrap();
    place.redress(&["capability", "add", &tag]).exits(0);
}

#[test]
fn a_changed_manifest_is_refused_where_its_digest_was_asked_for() {
    let Some(registry) = Registry::start() else { return };
    let place = place();
    let pushed = push(&place, &registry.name("acme/notes:1"));
    let manifest = pushed["manifest"].as_str().unwrap();
    let blob = registry.blob(manifest);
    let text = fs::read_to_string(&blob).unwrap();
    fs::write(&blob, text.replace("acme.notes.write", "acme.notes.wrote")).unwrap();
    let refused = place.redress(&["capability", "add", &registry.name(&format!("acme/notes@{manifest}"))]);
    assert!(matches!(refused.code, Some(2 | 6)), "{refused:#?}");
    assert!(!Path::new(&place.path("redress.lock")).exists(), "{refused:#?}");
}

#[test]
fn a_signature_travels_beside_the_component() {
    let Some(registry) = Registry::start() else { return };
    let place = place();
    let key = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let trusted = format!(
        "{POLICY}signers:\n  - {{ name: acme, key: {}, from: \"oci://*\", capabilities: [\"acme.*\"], require: true }}\n",
        key.pk.to_base64()
    );
    push(&place, &registry.name("acme/notes:unsigned"));
    place.write("policy.yaml", trusted);
    let refused = place.redress(&["capability", "add", &registry.name("acme/notes:unsigned")]).exits(6);
    assert!(refused.stderr.contains("it has no signature"), "{refused:#?}");
    let bytes = fs::read(place.path("notes.wasm")).unwrap();
    let signed = minisign::sign(Some(&key.pk), &key.sk, std::io::Cursor::new(bytes), None, None).unwrap();
    place.write("notes.wasm.minisig", signed.into_string());
    let pushed = push(&place, &registry.name("acme/notes:1"));
    assert!(pushed["signature"].as_str().unwrap().ends_with(".minisig"), "{pushed}");
    let added = place.redress(&["capability", "add", &registry.name("acme/notes:1"), "--json"]).exits(0).json();
    assert_eq!(added["signer"]["name"], "acme");
    // A signature of other bytes beside it.
    put(&place, "notes_2");
    let digest = push(&place, &registry.name("acme/other:1"));
    assert!(digest["signature"].is_string());
    let wrong = place.redress(&["capability", "add", &registry.name("acme/other:1"), "--accept"]).exits(6);
    assert!(wrong.stderr.contains("none of the signers"), "{wrong:#?}");
}

#[test]
fn who_one_is_for_a_registry_is_read_from_the_configuration_of_docker() {
    let Some(registry) = Registry::start_closed() else { return };
    let place = place();
    let target = registry.name("acme/notes:1");
    let as_written = |config: &Path, arguments: &[&str]| {
        let output = place.command(arguments).env("DOCKER_CONFIG", config).output().unwrap();
        super::binary::Answer::from(output)
    };
    let config = registry.folder.path().join("docker");
    fs::create_dir(&config).unwrap();
    fs::write(config.join("config.json"), "{}").unwrap();
    let arguments = ["capability", "push", "notes.wasm", &target];
    let nobody = as_written(&config, &arguments).exits(2);
    assert!(nobody.stderr.contains("docker login"), "{nobody:#?}");
    let auth = STANDARD.encode(format!("acme:{PASSWORD}"));
    let host = format!("127.0.0.1:{}", registry.port);
    fs::write(config.join("config.json"), json!({ "auths": { host: { "auth": auth } } }).to_string()).unwrap();
    as_written(&config, &arguments).exits(0);
    let added = as_written(&config, &["capability", "add", &target]).exits(0);
    assert!(!format!("{added:?}").contains(PASSWORD));
}

#[test]
fn a_manifest_without_end_is_cut_off() {
    let server = super::server::Server::start(|request| match request.path.as_str() {
        "/v2/" => super::server::Reply::ok(""),
        _ => super::server::Reply::Talk(Box::new(|connection| {
            drop(
                connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"),
            );
            while connection.write_all(&[b' '; 1 << 16]).is_ok() {}
        })),
    });
    let place = place();
    let answer =
        place.redress(&["capability", "add", &format!("oci://127.0.0.1:{}/acme/notes:1", server.port())]).exits(6);
    assert!(answer.stderr.contains("its manifest has more than"), "{answer:#?}");
    let lines: Vec<&str> = answer.stderr.lines().collect();
    assert!(lines.iter().all(|line| line.starts_with("error: ") || line.starts_with("help: ")), "{lines:?}");
}
