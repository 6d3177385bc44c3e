# Every third-party library, in one interface target. All come from the distribution's packages;
# tools/install_dependencies.sh installs them.
find_package(OpenMP REQUIRED)
find_package(dnnl REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(CLI11 REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(PkgConfig REQUIRED)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(utf8proc REQUIRED IMPORTED_TARGET libutf8proc)

add_library(nibble_dependencies INTERFACE)
target_link_libraries(nibble_dependencies INTERFACE
  OpenMP::OpenMP_CXX DNNL::dnnl fmt::fmt nlohmann_json::nlohmann_json yaml-cpp CLI11::CLI11
  OpenSSL::Crypto PkgConfig::pcre2 PkgConfig::utf8proc)
