//! Components in registries, in the layout for WebAssembly of the CNCF: an image manifest with a config of the type
//! `application/vnd.wasm.config.v0+json` and one layer of the type `application/wasm`, which is the component. Its
//! signature lies beside it under the tag `sha256-<digest of the component>.minisig`.
//!
//! A registry and whatever stands between are not believed: the layer must have the digest that the manifest says, the
//! manifest the digest that was asked for, and both at most the size that can be installed.

use std::collections::BTreeMap;

use bytes::Bytes;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use serde_json::{Value, json};

use super::{InstallError, MAX_COMPONENT};
use crate::document::escape;
use crate::types::{Digest, sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
const SIGNATURE: &str = "application/vnd.minisign.signature";
/// A config that says nothing, as the image specification has it.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The largest signature file that is read.
const MAX_SIGNATURE: i64 = 16 << 10;

/// The largest manifest that is read.
const MAX_MANIFEST: usize = 4 << 20;

/// A component as it was pulled.
#[derive(Debug)]
pub struct Artifact {
    /// The component.
    pub bytes: Bytes,
    /// The digest of the manifest.
    pub manifest: String,
    /// The text of the signature beside it, if there is one.
    pub signature: Option<String>,
}

/// What was pushed.
#[derive(Debug)]
pub struct Pushed {
    /// The digest of the manifest.
    pub manifest: String,
    /// Where the signature lies, if there was one.
    pub signature: Option<String>,
}

/// User and password for a registry.
type Credentials = Box<dyn Fn(&str) -> Option<(String, String)> + Send + Sync>;

/// Talks to registries.
pub struct Registry {
    client: Client,
    /// For manifests: the other client reads them whole, however long they are.
    http: reqwest::Client,
    scheme: &'static str,
    credentials: Credentials,
}

impl Registry {
    /// With certificates in PEM that TLS trusts besides the usual ones, and `credentials` that say user and password for a
    /// registry. Registries on loopback are spoken to without TLS; all others with.
    pub fn new(
        registry: &str,
        extra_ca: Option<&[u8]>,
        credentials: impl Fn(&str) -> Option<(String, String)> + Send + Sync + 'static,
    ) -> Result<Registry, InstallError> {
        // Whoever was first has set it.
        drop(rustls::crypto::ring::default_provider().install_default());
        let extra = extra_ca.map(|pem| Certificate { encoding: CertificateEncoding::Pem, data: pem.to_vec() });
        let protocol = if is_loopback(registry) { ClientProtocol::Http } else { ClientProtocol::Https };
        let config = ClientConfig {
            protocol,
            extra_root_certificates: extra.into_iter().collect(),
            connect_timeout: Some(std::time::Duration::from_secs(20)),
            read_timeout: Some(std::time::Duration::from_secs(60)),
            user_agent: concat!("redress/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let failed = |error: OciDistributionError| {
            InstallError::usage(
                "registry",
                format!("registries cannot be reached: {error}"),
                "look at `extra_ca` in the settings",
            )
        };
        let scheme = if is_loopback(registry) { "http" } else { "https" };
        let client = Client::try_from(config).map_err(failed)?;
        let http = plain_client(extra_ca, is_loopback(registry)).map_err(|error| {
            InstallError::usage(
                "registry",
                format!("registries cannot be reached: {error}"),
                "look at `extra_ca` in the settings",
            )
        })?;
        Ok(Registry { client, http, scheme, credentials: Box::new(credentials) })
    }

    fn auth(&self, reference: &Reference) -> RegistryAuth {
        match (self.credentials)(reference.resolve_registry()) {
            Some((user, password)) => RegistryAuth::Basic(user, password),
            None => RegistryAuth::Anonymous,
        }
    }

    /// The digest that a tag stands for now.
    pub async fn resolve(&self, reference: &Reference) -> Result<String, InstallError> {
        Ok(sha256(&self.fetch(reference).await?).to_string())
    }

    /// Pulls a component and its signature.
    pub async fn pull(&self, reference: &Reference) -> Result<Artifact, InstallError> {
        let (manifest, digest) = self.manifest(reference).await?;
        let layer = self.the_layer(reference, &manifest)?;
        let bytes = self.blob(reference, layer).await?;
        let beside = signature_of(reference, &sha256(&bytes));
        let signature = match self.manifest(&beside).await {
            Ok((manifest, _)) => Some(self.signature(&beside, &manifest).await?),
            Err(InstallError::Usage { code: "not-in-registry", .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Artifact { bytes, manifest: digest, signature })
    }

    async fn manifest(&self, reference: &Reference) -> Result<(OciImageManifest, String), InstallError> {
        let bytes = self.fetch(reference).await?;
        let digest = sha256(&bytes).to_string();
        if let Some(asked) = reference.digest().filter(|asked| *asked != digest) {
            let message = format!("`{reference}`: the registry sent a manifest with the digest {digest}, not {asked}");
            return Err(InstallError::refused("changed-artifact", message, BROKEN));
        }
        let manifest = serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("`{reference}` has no manifest of an image: {error}");
            InstallError::usage("not-a-component", message, NOT_A_COMPONENT)
        })?;
        Ok((manifest, digest))
    }

    /// The bytes of a manifest, as far as they may be.
    async fn fetch(&self, reference: &Reference) -> Result<Vec<u8>, InstallError> {
        let auth = self.auth(reference);
        let token = self.client.auth(reference, &auth, RegistryOperation::Pull).await;
        let token = token.map_err(|error| failed(reference, error))?;
        let which = reference.digest().or(reference.tag()).unwrap_or("latest");
        let (registry, name) = (reference.resolve_registry(), reference.repository());
        let request = self.http.get(format!("{}://{registry}/v2/{name}/manifests/{which}", self.scheme));
        let request = match (token, auth) {
            (Some(token), _) => request.bearer_auth(token),
            (None, RegistryAuth::Basic(user, password)) => request.basic_auth(user, Some(password)),
            (None, _) => request,
        };
        let broken = |error: reqwest::Error| failed(reference, OciDistributionError::RequestError(error));
        let mut answer = request.header("accept", MANIFEST).send().await.map_err(broken)?;
        let status = answer.status();
        if !status.is_success() {
            let url = format!("manifests/{which}");
            let error = OciDistributionError::ServerError { code: status.as_u16(), url, message: status.to_string() };
            return Err(failed(reference, error));
        }
        let mut bytes = Vec::new();
        while let Some(more) = answer.chunk().await.map_err(broken)? {
            bytes.extend_from_slice(&more);
            if bytes.len() > MAX_MANIFEST {
                let message = format!("`oci://{reference}`: its manifest has more than {MAX_MANIFEST} bytes");
                return Err(InstallError::refused("too-large", message, BROKEN));
            }
        }
        Ok(bytes)
    }

    fn the_layer<'m>(
        &self,
        reference: &Reference,
        manifest: &'m OciImageManifest,
    ) -> Result<&'m OciDescriptor, InstallError> {
        let no = |why: String| {
            InstallError::usage("not-a-component", format!("`{reference}` holds no component: {why}"), NOT_A_COMPONENT)
        };
        if manifest.config.media_type != CONFIG {
            return Err(no(format!("its config is `{}`, not `{CONFIG}`", manifest.config.media_type)));
        }
        match manifest.layers.as_slice() {
            [layer] if layer.media_type == LAYER => Ok(layer),
            [layer] => Err(no(format!("its layer is `{}`, not `{LAYER}`", layer.media_type))),
            layers => Err(no(format!("it has {} layers; one is expected", layers.len()))),
        }
    }

    /// A blob, which has the size and the digest that its descriptor says.
    async fn blob(&self, reference: &Reference, blob: &OciDescriptor) -> Result<Bytes, InstallError> {
        let size = usize::try_from(blob.size).unwrap_or(usize::MAX);
        if size > MAX_COMPONENT {
            let message = format!("`{reference}` has {size} bytes; at most {MAX_COMPONENT} are installed");
            return Err(InstallError::usage("too-large", message, "ask for a smaller build of it"));
        }
        let mut bytes = Capped { bytes: Vec::new(), most: size };
        match self.client.pull_blob(reference, blob, &mut bytes).await {
            // What the library finds wrong with the content is found below, in our words.
            Ok(()) | Err(OciDistributionError::DigestError(_)) => {}
            Err(_) if bytes.bytes.len() > size => {}
            Err(error) => return Err(failed(reference, error)),
        }
        let found = sha256(&bytes.bytes).to_string();
        if found != blob.digest {
            let length = bytes.bytes.len();
            let message = format!(
                "`{reference}`: the registry sent {length} bytes with the digest {found}, where its manifest says {size} bytes \
                 with {}",
                blob.digest
            );
            return Err(InstallError::refused("changed-artifact", message, BROKEN));
        }
        Ok(Bytes::from(bytes.bytes))
    }

    async fn signature(&self, beside: &Reference, manifest: &OciImageManifest) -> Result<String, InstallError> {
        let no = |why: &str| {
            let help = "push it again with its signature: redress capability push --signature FILE.minisig";
            InstallError::refused("wrong-signature", format!("`{beside}` holds no signature: {why}"), help)
        };
        let [layer] = manifest.layers.as_slice() else { return Err(no("it has not one layer")) };
        if layer.media_type != SIGNATURE || layer.size > MAX_SIGNATURE {
            return Err(no("its layer is of another type, or too large"));
        }
        let bytes = self.blob(beside, layer).await?;
        String::from_utf8(bytes.to_vec()).map_err(|_| no("it is not text"))
    }

    /// Pushes a component, and its signature if there is one. Returns when both are there.
    pub async fn push(
        &self,
        reference: &Reference,
        bytes: &Bytes,
        config: Value,
        annotations: BTreeMap<String, String>,
        signature: Option<&str>,
    ) -> Result<Pushed, InstallError> {
        let auth = self.auth(reference);
        let authenticated = self.client.auth(reference, &auth, RegistryOperation::Push).await;
        authenticated.map_err(|error| failed(reference, error))?;
        // The signature first: whoever pulls the component finds it.
        let beside = signature_of(reference, &sha256(bytes));
        if let Some(signature) = signature {
            let layer = ImageLayer::new(Bytes::from(signature.to_owned()), SIGNATURE.to_owned(), None);
            let empty = Config::new(Bytes::from_static(b"{}"), EMPTY.to_owned(), None);
            let mut manifest = OciImageManifest::build(std::slice::from_ref(&layer), &empty, None);
            manifest.media_type = Some(MANIFEST.to_owned());
            manifest.artifact_type = Some(SIGNATURE.to_owned());
            let pushed = self.client.push(&beside, &[layer], empty, &auth, Some(manifest)).await;
            pushed.map_err(|error| failed(&beside, error))?;
        }
        let layer = ImageLayer::new(bytes.clone(), LAYER.to_owned(), None);
        let config = Config::new(Bytes::from(config.to_string()), CONFIG.to_owned(), None);
        let annotations = (!annotations.is_empty()).then_some(annotations);
        let mut manifest = OciImageManifest::build(std::slice::from_ref(&layer), &config, annotations);
        manifest.media_type = Some(MANIFEST.to_owned());
        let pushed = self.client.push(reference, &[layer], config, &auth, Some(manifest)).await;
        pushed.map_err(|error| failed(reference, error))?;
        let manifest = self.resolve(reference).await?;
        Ok(Pushed { manifest, signature: signature.map(|_| beside.to_string()) })
    }
}

impl Artifact {
    /// See [`Registry::push`]: what the config of a component says, as the layout has it. It has no time of its own, so that the
    /// same component makes the same artifact.
    pub fn config(digest: &Digest, imports: &[String]) -> Value {
        let exports = ["redress:capability/provider@0.1.0"];
        json!({
            "created": "1970-01-01T00:00:00Z", "author": null, "architecture": "wasm", "os": "wasip2", "layerDigests": [digest],
            "component": { "exports": exports, "imports": imports, "target": null },
        })
    }
}

fn plain_client(extra_ca: Option<&[u8]>, loopback: bool) -> reqwest::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .https_only(!loopback)
        .user_agent(concat!("redress/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(std::time::Duration::from_secs(20))
        .read_timeout(std::time::Duration::from_secs(60));
    for certificate in extra_ca.map(reqwest::Certificate::from_pem_bundle).transpose()?.unwrap_or_default() {
        builder = builder.add_root_certificate(certificate);
    }
    builder.build()
}

const NOT_A_COMPONENT: &str = "push components with `redress capability push`, or `wkg oci push`";
const BROKEN: &str = "nothing was installed; pull again, and if it is still so, ask whoever runs the registry";

fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => registry.rsplit_once(':').map_or(registry, |(host, _)| host),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Where the signature of a component lies.
fn signature_of(reference: &Reference, digest: &Digest) -> Reference {
    let tag = format!("{}.minisig", digest.to_string().replace(':', "-"));
    Reference::with_tag(reference.registry().to_owned(), reference.repository().to_owned(), tag)
}

/// What a registry, or the way to it, had to say.
fn failed(reference: &Reference, error: OciDistributionError) -> InstallError {
    let missing = match &error {
        OciDistributionError::ImageManifestNotFoundError(_) => true,
        OciDistributionError::RegistryError { envelope, .. } => envelope.errors.iter().any(|error| {
            matches!(
                error.code,
                OciErrorCode::ManifestUnknown
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::NotFound
                    | OciErrorCode::BlobUnknown
            )
        }),
        OciDistributionError::ServerError { code, .. } => *code == 404,
        _ => false,
    };
    if missing {
        let message = format!("`oci://{reference}` is not in the registry");
        return InstallError::usage("not-in-registry", message, "look at its name, tag and digest");
    }
    let unauthorised = matches!(
        error,
        OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_)
            | OciDistributionError::ServerError { code: 401 | 403, .. }
    );
    let text = escape(&told(&error));
    let help = if text.contains("certificate") {
        "if the registry has an authority of its own, name the file of its certificate as `extra_ca` in the settings"
    } else if unauthorised {
        "say who you are: `docker login REGISTRY`, which writes the file that is read here"
    } else {
        "nothing was changed; look whether the registry can be reached"
    };
    let code = if unauthorised { "not-logged-in" } else { "registry" };
    InstallError::usage(code, format!("`oci://{reference}`: {text}"), help)
}

/// An error with its causes.
fn told(error: &OciDistributionError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let cause = inner.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = inner.source();
    }
    text
}

/// Takes what comes up to a length and one byte more, and then no more.
struct Capped {
    bytes: Vec<u8>,
    most: usize,
}

impl tokio::io::AsyncWrite for &mut Capped {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        more: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        if self.bytes.len() > self.most {
            return std::task::Poll::Ready(Err(std::io::Error::other("it is longer than its manifest says")));
        }
        self.bytes.extend_from_slice(more);
        std::task::Poll::Ready(Ok(more.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registries_on_loopback_are_spoken_to_without_tls() {
        for registry in ["localhost", "localhost:5000", "127.0.0.1:5000", "[::1]:5000"] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in ["registry.example.com", "localhost.example.com", "10.0.0.1:5000", "127.0.0.1.example.com"] {
            assert!(!is_loopback(registry), "{registry}");
        }
    }
}
