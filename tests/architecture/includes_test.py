"""The check of the includes reports what RUNGS forbids, and accepts what it allows."""
import os
import tempfile
import unittest

from includes import violations


def faults(files):
    """What violations() reports for a tree of {path: text}."""
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
        found, count = violations(root)
        assert count == len(files)
        return found


class Includes(unittest.TestCase):
    def forbidden(self, path, text, what):
        found = faults({path: text})
        self.assertEqual(len(found), 1, found)
        self.assertIn(what, found[0])

    def allowed(self, path, text):
        self.assertEqual(faults({path: text}), [])

    def test_order_of_modules(self):
        self.allowed("src/program/a.cpp", '#include "ops/a.h"\n#include "base/b.h"\n#include <vector>\n')
        self.allowed("src/ops/a.cpp", '#include "ops/b.h"\n#include "lowering/step.h"\n')
        self.forbidden("src/base/a.cpp", '#include "graph/op.h"\n', "src/base/a.cpp:1: base may not know graph")
        self.forbidden("src/graph/a.cpp", '\n#include "data/a.h"\n', "src/graph/a.cpp:2: graph may not know data")
        self.forbidden("src/ops/a.cpp", '#  include  "optim/a.h"\n', "ops may not know optim")
        self.forbidden("src/train/a.h", '#include "apps/facet/main.h"\n', "train may not know apps")
        self.forbidden("bench/a.cpp", '#include "apps/facet/main.h"\n', "bench may not know apps")

    def test_public_headers_belong_to_their_modules(self):
        self.allowed("include/facet/training.h", '#include "facet/metrics.h"\n')
        self.allowed("src/graph/a.cpp", '#include "facet/tensor_types.h"\n')
        self.forbidden("include/facet/dataset.h", '#include "facet/graph.h"\n', "data may not know graph")
        self.forbidden("src/data/a.cpp", '#include <facet/training.h>\n', "data may not know train")
        self.forbidden("include/facet/graph.h", '#include "lowering/step.h"\n', "graph may not know lowering")

    def test_program_includes_public_headers_only(self):
        self.allowed("apps/facet/a.cpp", '#include "facet/training.h"\n#include <facet/files.h>\n#include <fmt/format.h>\n')
        self.forbidden("apps/facet/a.cpp", '#include "base/text.h"\n', "apps/facet/a.cpp:1: base/text.h is not a public header")
        self.forbidden("apps/facet/cli/a.h", '#include "../../../src/base/text.h"\n', "is of no module")
        private = {"apps/facet/a.cpp": '#include "../../src/base/text.h"\n', "src/base/text.h": ""}
        self.assertIn("is not a public header", faults(private)[0])
        self.allowed("bench/a.cpp", '#include "base/text.h"\n')

    def test_relative_includes(self):
        own = {"apps/facet/a.cpp": '#include "b.h"\n', "apps/facet/b.h": ""}
        self.assertEqual(faults(own), [])
        folders = {"apps/facet/commands/a.cpp": '#include "cli/b.h"\n', "apps/facet/cli/b.h": ""}
        self.assertEqual(faults(folders), [])
        self.forbidden("src/train/a.cpp", '#include "cli/b.h"\n', "of no module")
        up = {"src/base/a.cpp": '#include "../graph/op.h"\n', "src/graph/op.h": ""}
        self.assertEqual(len(faults(up)), 1)

    def test_unknown_modules(self):
        self.forbidden("src/utils/a.cpp", "", "of no module")
        self.forbidden("include/facet/extra.h", "", "of no module")
        self.forbidden("src/train/a.cpp", '#include "facet/extra.h"\n', "of no module")

    def test_onednn_stays_in_its_module(self):
        self.allowed("src/onednn/a.h", "#include <oneapi/dnnl/dnnl.hpp>\n#if DNNL_VERSION_MAJOR >= 3\n#endif\n")
        self.allowed("src/lowering/a.h", "dnnl::memory memory;\n")
        self.forbidden("src/program/a.cpp", "#include <oneapi/dnnl/dnnl.hpp>\n", "outside src/onednn")
        self.forbidden("src/ops/a.cpp", "#include <dnnl.hpp>\n", "outside src/onednn")
        self.forbidden("src/program/a.cpp", "#if DNNL_VERSION_MAJOR >= 3\n", "DNNL_VERSION")
        self.forbidden("src/optim/a.cpp", "dnnl::memory memory;\n", "names a type of oneDNN")

    def test_public_headers_hide_the_libraries(self):
        for header in ("oneapi/dnnl/dnnl.hpp", "oneapi/tbb/task_arena.h", "tbb/tbb.h", "hwloc.h", "hwy/highway.h"):
            self.forbidden("include/facet/ops.h", f"#include <{header}>\n", "a public header includes")
        self.forbidden("include/facet/ops.h", "tbb::task_arena arena;\n", "a public header names tbb::")


if __name__ == "__main__":
    unittest.main()
