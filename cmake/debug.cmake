# libebb-debug: the pages over HTTP. It calls nothing of the library's: it is loaded by name, also
# into programs that have Ebb inside.
find_path(civetweb_include civetweb.h)
find_library(civetweb_library civetweb)
mark_as_advanced(civetweb_include civetweb_library)
if(civetweb_include AND civetweb_library)
    set(have_civetweb ON)
else()
    set(have_civetweb OFF)
endif()
ebb_option(EBB_HTTP ${have_civetweb} "Build libebb-debug, with civetweb"
           "no debug pages over HTTP (Debian: libcivetweb-dev), only over the Unix socket")
if(NOT EBB_HTTP)
    return()
endif()

# --- The chart -----------------------------------------------------------------------------------
# What the page draws with comes from npm, as its lock file has it: into the build, and from there into
# the library.
find_program(npm_program npm)
mark_as_advanced(npm_program)
if(npm_program AND is_top)
    set(have_npm ON)
else()
    set(have_npm OFF)
endif()
ebb_option(EBB_CHART ${have_npm} "Fetch uPlot by npm for the debug page"
           "the debug page has no chart (it takes npm and the network)")

set(chart_definitions)
if(EBB_CHART)
    set(chart_dir ${PROJECT_BINARY_DIR}/page)
    set(chart_lock ${PROJECT_SOURCE_DIR}/src/debug/page/package-lock.json)
    set(chart_script ${chart_dir}/node_modules/uplot/dist/uPlot.iife.min.js)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${chart_lock})
    if(NOT EXISTS ${chart_script} OR ${chart_lock} IS_NEWER_THAN ${chart_script})
        file(COPY ${chart_lock} ${PROJECT_SOURCE_DIR}/src/debug/page/package.json
             DESTINATION ${chart_dir})
        execute_process(
            COMMAND ${npm_program} ci --ignore-scripts --no-audit --no-fund --prefer-offline
                    --fetch-retries=1
            TIMEOUT 60 WORKING_DIRECTORY ${chart_dir} OUTPUT_QUIET ERROR_VARIABLE chart_error
            RESULT_VARIABLE chart_failed)
        if(chart_failed)
            message(STATUS "Ebb: npm could not fetch uPlot, so the debug page has no chart: "
                           "${chart_error}")
        else()
            file(TOUCH ${chart_script})
        endif()
    endif()
    if(EXISTS ${chart_script})
        set(chart_definitions EBB_CHART_DIR="${chart_dir}/node_modules/uplot")
    endif()
endif()

# --- The library ---------------------------------------------------------------------------------
file(GLOB debug_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/debug/*.c)
file(GLOB page_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/debug/page/*)
add_library(ebb_debug SHARED ${debug_sources})
set_target_properties(ebb_debug PROPERTIES OUTPUT_NAME ebb-debug C_STANDARD 11 C_EXTENSIONS ON
    C_VISIBILITY_PRESET hidden VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
target_include_directories(ebb_debug PRIVATE ${civetweb_include})
target_compile_options(ebb_debug PRIVATE ${warnings} -fno-omit-frame-pointer)
target_compile_definitions(ebb_debug PRIVATE ${chart_definitions}
    EBB_PAGE_DIR="${PROJECT_SOURCE_DIR}/src/debug/page")
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/debug/page.c PROPERTIES
    OBJECT_DEPENDS "${page_files}")
target_link_options(ebb_debug PRIVATE -Wl,-z,nodelete)
target_link_libraries(ebb_debug PRIVATE ${civetweb_library} Threads::Threads)
install(TARGETS ebb_debug)
