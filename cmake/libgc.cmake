# libgc.so.1: the interface of the Boehm-Demers-Weiser collector, on Ebb. A library for
# LD_LIBRARY_PATH, so it lies in a directory of its own, in the build as where it is installed.
ebb_option(EBB_LIBGC ${is_top} "Build libgc.so.1" "no libgc.so.1 for programs that use that collector")
if(NOT EBB_LIBGC)
    return()
endif()

set(libgc_dir ${PROJECT_SOURCE_DIR}/compat/libgc)
file(GLOB libgc_sources CONFIGURE_DEPENDS ${libgc_dir}/*.c)
add_library(ebb_libgc SHARED ${libgc_sources})
set_target_properties(ebb_libgc PROPERTIES
    OUTPUT_NAME gc VERSION 1.5.0 SOVERSION 1 C_STANDARD 11 C_EXTENSIONS ON
    C_VISIBILITY_PRESET hidden LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/compat
    BUILD_RPATH "$ORIGIN/.." INSTALL_RPATH "$ORIGIN/.." LINK_DEPENDS ${libgc_dir}/libgc.map)
target_include_directories(ebb_libgc PRIVATE ${libgc_dir}/include)
target_compile_options(ebb_libgc PRIVATE ${warnings} -fno-omit-frame-pointer -fno-plt
    -ftls-model=initial-exec -fno-semantic-interposition)
target_link_libraries(ebb_libgc PRIVATE ebb_shared Threads::Threads ${CMAKE_DL_LIBS})
target_link_options(ebb_libgc PRIVATE -Wl,--version-script=${libgc_dir}/libgc.map
    -Wl,-z,nodelete -Wl,-z,now)
if(NOT EBB_SANITIZE)
    target_link_options(ebb_libgc PRIVATE -Wl,-z,defs)
endif()

set(libgc_home ${CMAKE_INSTALL_LIBDIR}/ebb-gc)
install(TARGETS ebb_libgc LIBRARY DESTINATION ${libgc_home})
install(DIRECTORY ${libgc_dir}/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/ebb-gc
    FILES_MATCHING PATTERN "*.h")
set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH pc_prefix /prefix/${pc_dir} /prefix)
string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
configure_file(${libgc_dir}/ebb-gc.pc.in ebb-gc.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/ebb-gc.pc DESTINATION ${pc_dir})
