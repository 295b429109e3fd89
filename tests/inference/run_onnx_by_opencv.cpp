#include <cstdio>
#include <fstream>
#include <opencv2/dnn.hpp>
#include <string>
#include <vector>

// Does the same as run_onnx.py, with OpenCV: run_onnx_by_opencv MODEL.onnx INPUT HEIGHTxWIDTH FOLDER BATCH...
int main(int argc, char** argv) {
  if (argc < 6) return 2;
  cv::dnn::Net net = cv::dnn::readNetFromONNX(argv[1]);
  net.setPreferableBackend(cv::dnn::DNN_BACKEND_OPENCV);
  const std::string size = argv[3];
  const int height = std::stoi(size), width = std::stoi(size.substr(size.find('x') + 1));
  for (int word = 5; word < argc; ++word) {
    const int batch = std::stoi(argv[word]);
    const std::vector<int> shape{batch, 3, height, width};
    cv::Mat images(shape, CV_32F);
    std::ifstream(argv[2], std::ios::binary)
        .read(images.ptr<char>(), static_cast<std::streamsize>(images.total() * sizeof(float)));
    net.setInput(images);
    std::vector<cv::Mat> outputs;
    net.forward(outputs, net.getUnconnectedOutLayersNames());
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      std::ofstream(std::string(argv[4]) + "/" + std::to_string(i) + "." + argv[word], std::ios::binary)
          .write(outputs[i].ptr<char>(), static_cast<std::streamsize>(outputs[i].total() * sizeof(float)));
    }
  }
}
