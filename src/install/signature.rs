//! Detached signatures that minisign makes: Ed25519 over the bytes or over their BLAKE2b digest.

use minisign_verify::{PublicKey, Signature};

use super::InstallError;
use super::lock::SignedBy;
use crate::policy::{Offer, Policy, Signer};
use crate::sandbox::Component;

/// Whether `signature`, the text of a `.minisig` file, is one of `key` over `bytes`; or why not.
fn verify(bytes: &[u8], signature: &str, key: &str) -> Result<(), String> {
    let key = PublicKey::from_base64(key).map_err(|error| format!("the key is not one of minisign: {error}"))?;
    let signature = Signature::decode(signature).map_err(|error| format!("it is not one of minisign: {error}"))?;
    key.verify(bytes, &signature, true).map_err(|error| error.to_string())
}

/// Whether the policy lets a component in that comes from `origin` and provides `ids`, and who signed it; `name` is what it is
/// called in the answer. Asked wherever a component is installed or loaded.
pub fn admit(
    policy: &Policy,
    name: &str,
    origin: &str,
    component: &Component,
    signed: (&[u8], Option<&str>),
) -> Result<Option<SignedBy>, InstallError> {
    if !policy.has_provenance() {
        return Ok(None);
    }
    let ids: Vec<&str> = component.capabilities().iter().map(|info| info.id.as_str()).collect();
    let (bytes, signature) = signed;
    let signer = signer_of(name, bytes, signature, policy.signers_for(origin, &ids))?;
    let known = signer.as_ref().map(|signer| (signer.name.as_str(), signer.key.as_str()));
    policy.admit(&Offer { origin, ids: &ids, signer: known }).map_err(|why| {
        let message = format!("the policy does not let `{name}` in: {why}");
        let help = format!("`signers:` and `providers:` of {} say whose components may provide what", policy.name());
        InstallError::refused("not-admitted", message, help)
    })?;
    Ok(signer)
}

/// Which of the signers made the signature; none if there is no signature. One that none of them made is an error: whoever
/// signs wants to be recognised.
fn signer_of<'a>(
    name: &str,
    bytes: &[u8],
    signature: Option<&str>,
    signers: impl Iterator<Item = &'a Signer>,
) -> Result<Option<SignedBy>, InstallError> {
    let Some(signature) = signature else { return Ok(None) };
    let mut why = Vec::new();
    for signer in signers {
        match verify(bytes, signature, &signer.key) {
            Ok(()) => return Ok(Some(SignedBy { name: signer.name.clone(), key: signer.key.clone() })),
            Err(reason) => why.push(format!("{}: {reason}", signer.name)),
        }
    }
    if why.is_empty() {
        return Ok(None);
    }
    let message = format!(
        "the signature of `{name}` is of none of the signers that the policy trusts for it ({})",
        why.join("; ")
    );
    let help =
        "ask whoever provides it for the signature of these bytes, or name their key under `signers:` in the policy";
    Err(InstallError::refused("wrong-signature", message, help))
}
