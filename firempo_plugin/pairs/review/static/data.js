// Text from records reaches the page through textContent only, never as markup.

const page = takeData("page-data");
const records = takeData("record-data");
