//! Generates the gRPC code from `protos/` without an installed protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "assay/v1/gate.proto",
        "assay/v1/fetch.proto",
        "assay/v1/keys.proto",
        "assay/v1/node.proto",
        "assay/v1/trust_roots.proto",
        "containerd/snapshots.proto",
        "containerd/content.proto",
        "containerd/images.proto",
        "containerd/containers.proto",
        "containerd/version.proto",
    ];
    println!("cargo:rerun-if-changed=protos");
    let descriptors = protox::compile(files, ["protos"])?;
    tonic_prost_build::configure().include_file("generated.rs").compile_fds(descriptors)?;
    Ok(())
}
