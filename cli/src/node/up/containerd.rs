//! The configuration that containerd needs to ask Assay before it unpacks, for both of its configuration versions.

use std::{fmt, path::Path};

use assay_admission::Platform;

use super::{config::quoted, gates::VERIFIERS};

/// containerd's configuration, as text to put into its `config.toml`.
#[derive(Debug)]
pub(super) struct Configuration {
    /// For containerd 2.x.
    pub(super) version_3: String,
    /// For containerd 1.6 and 1.7.
    pub(super) version_2: String,
}

/// The configuration for the node below `root`.
pub(super) fn configuration(root: &Path) -> Configuration {
    let text = |path: &str| quoted(&root.join(path).display().to_string());
    let (socket, data) = (text("run/assay/snapshotter.sock"), text("var/lib/assay/snapshotter"));
    let gates = text("usr/lib/assay");
    let verifiers = text(VERIFIERS);
    let platform = Platform::host();
    let version_3 = format!(
        r#"version = 3
required_plugins = ["io.containerd.snapshotter.v1.assay", "io.containerd.image-verifier.v1.bindir", "io.containerd.transfer.v1.local"]
# Once nothing uses the other snapshotters any more, close that way around Assay:
# disabled_plugins = ["io.containerd.snapshotter.v1.overlayfs", "io.containerd.snapshotter.v1.native", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs"]

[proxy_plugins.assay]
  type = "snapshot"
  address = {socket}
  [proxy_plugins.assay.exports]
    enable_remote_snapshot_annotations = "true"
    root = {data}

[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "{platform}"
  snapshotter = "assay"
  differ = "walking"

# Asked before anything of an image is fetched. With a number for -1, or without the directory, containerd skips programs silently.
[plugins."io.containerd.image-verifier.v1.bindir"]
  bin_dir = {verifiers}
  max_verifiers = -1
  per_verifier_timeout = "10s"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "assay"
  use_local_image_pull = false
  disable_snapshot_annotations = true
  discard_unpacked_layers = false

# The run gate: containerd's shims find it as runc before the real one.
[plugins."io.containerd.internal.v1.opt"]
  path = {gates}
"#
    );
    let version_2 = format!(
        r#"version = 2
required_plugins = ["io.containerd.snapshotter.v1.assay"]

[proxy_plugins.assay]
  type = "snapshot"
  address = {socket}

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "assay"
  disable_snapshot_annotations = false

# The run gate: containerd's shims find it as runc before the real one.
[plugins."io.containerd.internal.v1.opt"]
  path = {gates}
"#
    );
    Configuration { version_3, version_2 }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "# containerd 2.x: put this into its config.toml and restart it. With ctr, give `--snapshotter assay`.\n{}\n\
             # containerd 1.6 and 1.7: this instead.\n{}",
            self.version_3, self.version_2
        )
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn both_configurations_are_toml_that_names_this_nodes_socket() {
        let configuration = configuration(Path::new("/tmp/a \"node\""));
        for text in [&configuration.version_3, &configuration.version_2] {
            let value: toml::Table = text.parse().unwrap();
            let plugin = &value["proxy_plugins"]["assay"];
            assert_eq!(plugin["address"].as_str().unwrap(), "/tmp/a \"node\"/run/assay/snapshotter.sock");
            let opt = &value["plugins"]["io.containerd.internal.v1.opt"];
            assert_eq!(opt["path"].as_str().unwrap(), "/tmp/a \"node\"/usr/lib/assay");
        }
        let value: toml::Table = configuration.version_3.parse().unwrap();
        let verifiers = &value["plugins"]["io.containerd.image-verifier.v1.bindir"];
        assert_eq!(verifiers["bin_dir"].as_str(), Some("/tmp/a \"node\"/usr/lib/assay/image-verifier.d"));
        assert_eq!(verifiers["max_verifiers"].as_integer(), Some(-1));
        // 1.6 and 1.7 have no such directory.
        assert!(!configuration.version_2.contains("image-verifier"));
    }
}
